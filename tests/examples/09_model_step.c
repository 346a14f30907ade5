/* How a serving engine runs a model: it keeps sequences, pages and the order of work, the library
 * keeps weights and programs. Two sequences, one of which begins while the other already writes;
 * the weights are made up. Start it with tw_run -n 2. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tilewire/model.h>

enum { kRows = 32, kPage = 16, kPages = 8, kSequences = 2, kWritten = 6 };

#define CHECK(call)                                        \
  do {                                                     \
    if ((call) != TW_OK) {                                 \
      fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      exit(1);                                             \
    }                                                      \
  } while (0)

/* Every weight that the model still misses, by its name and shape. */
static void give_weights(tw_model_t model) {
  static char names[1 << 16];
  size_t needed;
  CHECK(tw_model_missing(model, names, sizeof names, &needed));
  uint32_t random = 1;
  for (char* name = strtok(names, "\n"); name != NULL; name = strtok(NULL, "\n")) {
    tw_weight_t weight = TW_WEIGHT_INIT;
    CHECK(tw_model_weight_shape(model, name, &weight.rows, &weight.cols));
    float* const values = malloc(weight.rows * weight.cols * sizeof *values);
    for (size_t i = 0; i < weight.rows * weight.cols; ++i) {
      random = random * 1664525 + 1013904223;
      values[i] = weight.rows == 1 ? 1 : ((float)(random >> 8) / (1 << 24) - 0.5f) / 4;
    }
    weight.name = name;
    weight.data = values;
    weight.type = TW_FP32;
    CHECK(tw_model_set_weight(model, &weight));
    free(values); /* the model has its own shard of it */
  }
}

/* What an engine knows of a sequence. */
typedef struct sequence {
  int32_t length;    /* tokens whose keys and values are in the pages */
  uint32_t pages[4]; /* the engine's choice */
} sequence;

/* The arrays of one step, filled sequence by sequence. */
typedef struct batch {
  tw_step_t step;
  int32_t tokens[kRows], positions[kRows], sampled[kSequences];
  int64_t slots[kRows];
  uint32_t query_begin[kSequences + 1], page_begin[kSequences + 1], pages[kSequences * 4];
  uint32_t last[kSequences];
  tw_sampling_t sampling[kSequences];
} batch;

static void add(batch* b, sequence* s, const int32_t* tokens, uint32_t count) {
  tw_step_t* const step = &b->step;
  for (uint32_t i = 0; i < count; ++i, ++s->length) {
    b->tokens[step->rows] = tokens[i];
    b->positions[step->rows] = s->length;
    b->slots[step->rows] = (int64_t)s->pages[s->length / kPage] * kPage + s->length % kPage;
    ++step->rows;
  }
  const uint32_t n = step->sequences++;
  for (int32_t p = 0; p * kPage < s->length; ++p)
    b->pages[b->page_begin[n] + (uint32_t)p] = s->pages[p];
  b->query_begin[n + 1] = step->rows;
  b->page_begin[n + 1] = b->page_begin[n] + (uint32_t)((s->length + kPage - 1) / kPage);
  b->last[n] = step->rows - 1;
  b->sampling[n] = (tw_sampling_t){0, 0, 1, -1, 0}; /* the most probable token */
  step->logit_rows = step->sequences;
}

static batch* begin(batch* b) {
  memset(b, 0, sizeof *b);
  b->step = (tw_step_t)TW_STEP_INIT;
  b->step.tokens = b->tokens;
  b->step.positions = b->positions;
  b->step.slots = b->slots;
  b->step.query_begin = b->query_begin;
  b->step.page_begin = b->page_begin;
  b->step.pages = b->pages;
  b->step.logit_row = b->last;
  b->step.sampling = b->sampling;
  b->step.sampled = b->sampled;
  return b;
}

int main(void) {
  tw_comm_t comm;
  tw_model_t model;
  int rank;
  if (tw_comm_create_env(NULL, &comm) != TW_OK) {
    fprintf(stderr, "%s\n", tw_last_error());
    return 1;
  }
  CHECK(tw_comm_rank(comm, &rank));

  tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  desc.layers = 2;
  desc.hidden = 96;
  desc.heads = 6; /* over 2 ranks: 4 query heads on 2 KV heads, and 2 on 1 */
  desc.kv_heads = 3;
  desc.head_size = 16;
  desc.ffn = 160;
  desc.vocab = 200;
  desc.context = 64;
  CHECK(tw_model_create(comm, &desc, &model));
  give_weights(model);

  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
  limits.rows = kRows;
  limits.sequences = limits.logit_rows = kSequences;
  limits.page_size = kPage;
  limits.pages = kPages;
  CHECK(tw_model_prepare(model, &limits)); /* from here on steps allocate nothing */
  CHECK(tw_model_kv_create(model, kPage, kPages));

  const int32_t prompt[] = {11, 42, 7, 99, 3};
  sequence first = {0, {5, 2, 7, 0}}, second = {0, {1, 6, 3, 4}};
  int32_t text[2][kWritten];
  batch b;
  add(begin(&b), &first, prompt, 5); /* a prompt by itself */
  CHECK(tw_model_step(model, &b.step, NULL));
  text[0][0] = b.sampled[0];
  for (int i = 1; i <= kWritten; ++i) { /* the first writes on; the second is one step behind */
    begin(&b);
    if (i < kWritten) add(&b, &first, &text[0][i - 1], 1);
    add(&b, &second, i == 1 ? prompt : &text[1][i - 2], i == 1 ? 5 : 1);
    CHECK(tw_model_step(model, &b.step, NULL));
    if (i < kWritten) text[0][i] = b.sampled[0];
    text[1][i - 1] = b.sampled[b.step.sequences - 1];
  }

  /* Equal prompts in other pages and other batches: equal tokens. */
  const int same = memcmp(text[0], text[1], sizeof text[0]) == 0;
  printf("rank %d:", rank);
  for (int i = 0; i < kWritten; ++i) printf(" %d", (int)text[0][i]);
  printf("%s\n", same ? "" : ", and the second sequence differs");
  CHECK(tw_model_destroy(model));
  CHECK(tw_comm_destroy(comm));
  return same ? 0 : 1;
}
