"""llama.cpp in this process (GGUF files evaluated on one thread, with an fp32 KV cache and without flash attention),
and what it calls the weights of a Llama model."""

import os
import sys

import numpy as np
import xllamacpp
from llama_cpp_py_sync import _cffi_bindings

# llama.h as llama-cpp-py-sync declares it, and of the same week the library inside xllamacpp, whose
# wheel runs on older C libraries than the former's.
FFI = _cffi_bindings.get_ffi()
LIB = FFI.dlopen(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp.abi3.so"))

LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


@FFI.callback("void(enum ggml_log_level, const char *, void *)")
def print_errors(level, text, _):
    if level == LIB.GGML_LOG_LEVEL_ERROR:
        sys.stderr.write(FFI.string(text).decode())


class LlamaCpp:
    """A GGUF file; `room`: positions."""

    def __init__(self, path, room=256):
        params = LIB.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = False
        self.model = LIB.llama_model_load_from_file(path.encode(), params)
        assert self.model != FFI.NULL, f"llama.cpp does not load {path}"
        params = LIB.llama_context_default_params()
        assert (params.n_batch, params.n_ubatch, params.type_v) == (2048, 512, LIB.GGML_TYPE_F16), "another llama.h"
        params.n_ctx = room
        params.n_batch = params.n_ubatch = min(room, 512)
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = LIB.GGML_TYPE_F32
        params.flash_attn_type = LIB.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = LIB.llama_init_from_model(self.model, params)
        assert self.context != FFI.NULL, f"llama.cpp makes no context for {path}"

    def close(self):
        LIB.llama_free(self.context)
        LIB.llama_model_free(self.model)

    def decode(self, tokens, first, vocab):
        """Logits of each token, at positions first and on."""
        batch = LIB.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, first + i, 1, 1
            batch.seq_id[i][0] = 0
        status = LIB.llama_decode(self.context, batch)
        assert status == 0, f"llama_decode returned {status}"
        rows = [np.frombuffer(FFI.buffer(LIB.llama_get_logits_ith(self.context, i), 4 * vocab), "<f4").copy()
                for i in range(len(tokens))]
        LIB.llama_batch_free(batch)
        return np.stack(rows)

    def forget(self):
        assert LIB.llama_memory_seq_rm(LIB.llama_get_memory(self.context), 0, 0, -1)

    def tokens(self, text):
        """Of bytes; special tokens by their names."""
        room = FFI.new("llama_token[]", len(text) + 16)
        count = LIB.llama_tokenize(LIB.llama_model_get_vocab(self.model), text, len(text), room, len(room), False, True)
        assert count >= 0, f"llama_tokenize returned {count}"
        return list(room[0:count])


def gguf_name(name):
    stem, end = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{end}"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.{end}"


def permuted(rows, heads):
    """Pairs (i, i + half) become neighbours, as architecture llama has them in GGUF."""
    split = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


LIB.llama_log_set(print_errors, FFI.NULL)
LIB.llama_backend_init()
