# perf/<op>_perf.cc, perf/runner/*.cc -> build/perf/coll_perf, which every build/perf/<op>_perf is a
# link to: the op is taken from the program's name. The peers are the same objects with the backend
# of perf/peers compiled against each MPI that `make deps-perf` installed.

perf_ops := $(patsubst perf/%_perf.cc,%,$(wildcard perf/*_perf.cc))
perf_backend := $(B)/obj/perf/runner/tilewire_backend.o
perf_objects := $(filter-out $(perf_backend),$(patsubst %.cc,$(B)/obj/%.o,$(wildcard perf/*_perf.cc perf/runner/*.cc)))
perf_peer_objects := $(perf_objects) $(B)/obj/perf/peers/bf16_sum.o
perf_program := $(B)/perf/coll_perf
perf_links := $(perf_ops:%=$(B)/perf/%_perf)

.PHONY: perf perf-coll perf-gemm perf-fused perf-model perf-layer perf-programs perf-peers perf-gemm-peers deps-perf
perf-programs: $(perf_links)

$(B)/obj/perf/%.o: perf/%.cc $(flags_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(MPI_CFLAGS) -c $< -o $@

$(perf_program): $(perf_objects) $(perf_backend) $(so_link)
	$(call quiet,LINK)$(CXX) $(perf_objects) $(perf_backend) $(link_flags) $(use_so) $(MPI_LIBS) -o $@

$(perf_links): $(perf_program)
	@ln -sf $(notdir $<) $@

# ---- GEMM, and GEMM fused: perf/gemm -> build/perf/gemm_perf, to which the fused ops' programs are links
gemm_parts := $(addprefix $(B)/obj/perf/runner/,bind.o loops.o values.o)
gemm_objects := $(patsubst %.cc,$(B)/obj/%.o,$(wildcard perf/gemm/*.cc)) $(gemm_parts)
gemm_engine := $(B)/obj/perf/gemm/tilewire_engine.o
gemm_program := $(B)/perf/gemm_perf
gemm_links := $(filter-out $(gemm_program),$(patsubst perf/gemm/%.cc,$(B)/perf/%,$(wildcard perf/gemm/*_perf.cc)))
perf-programs: $(gemm_program) $(gemm_links)

$(gemm_program): $(gemm_objects) $(perf_backend) $(so_link)
	$(call quiet,LINK)$(CXX) $(gemm_objects) $(perf_backend) $(link_flags) $(use_so) $(MPI_LIBS) -o $@

$(gemm_links): $(gemm_program)
	@ln -sf $(notdir $<) $@

# ---- Models: perf/model -> build/perf/{model,layer}_perf ---------------------------------------------
model_benchmarks := $(B)/perf/model_perf $(B)/perf/layer_perf
model_objects := $(patsubst %.cc,$(B)/obj/%.o,$(filter-out %_perf.cc,$(wildcard perf/model/*.cc))) $(perf_backend) \
  $(gemm_parts) $(B)/obj/perf/gemm/limits.o $(B)/obj/perf/gemm/numbers.o $(B)/obj/lib/cli/tw_generate/synthetic.o
perf-programs: $(model_benchmarks)

$(model_benchmarks): $(B)/perf/%: $(B)/obj/perf/model/%.o $(model_objects) $(so_link)
	$(call quiet,LINK)$(CXX) $< $(model_objects) $(link_flags) $(use_so) $(MPI_LIBS) -o $@

# ---- Loops of one core (Google Benchmark), for every CPU target -------------------------------------
local_program := $(B)/perf/local_perf
tile_program := $(B)/perf/tile_perf
local_targets := $(filter-out $(wide_cpu_targets),$(cpu_targets))
local_objects := $(B)/obj/perf/local/local_perf.o $(B)/obj/perf/runner/loops.o $(B)/obj/perf/runner/values.o \
  $(foreach t,$(local_targets),$(B)/obj/$(t)/perf/local/loops.o $(B)/obj/$(t)/kernels/coll/reduce_loops.o)
tile_objects := $(B)/obj/perf/local/tile_perf.o $(B)/obj/perf/runner/loops.o \
  $(foreach t,$(cpu_targets),$(B)/obj/$(t)/perf/local/tile_loops.o)

define local_loops_rule
$$(B)/obj/$(1)/perf/local/%.o: perf/local/%.cc $$(flags_file) kernels/kernels.mk
	$$(call quiet,CXX)$$(compile_cxx) $$(cxx_flags) $$(kernel_flags) $$(arch_$(1)) $(call target_macro,$(1)) -c $$< -o $$@
endef
$(foreach target,$(cpu_targets),$(eval $(call local_loops_rule,$(target))))

$(local_program): $(local_objects)
	$(call quiet,LINK)$(CXX) $(local_objects) $(link_flags) -lbenchmark -o $@

$(tile_program): $(tile_objects) $(so_link)
	$(call quiet,LINK)$(CXX) $(tile_objects) $(link_flags) $(use_so) -lbenchmark -o $@

.PHONY: perf-local
perf-local:  ## loops of one core: copy, reduce, packets; GEMM and row ops
	@tests/tools/deps build
	@$(MAKE) --no-print-directory $(local_program) $(tile_program)
	$(local_program)
	$(tile_program)

# ---- The choice table of this machine (perf/tune.cc) ------------------------------------------------
# The program sees lib/coll's table, so it is linked with the archive.
tune_program := $(B)/perf/tune
tune_objects := $(filter-out %/runner/main.o,$(perf_objects)) $(perf_backend) $(B)/obj/perf/tune.o
tuned := build/tune/machine.def
tuned_fused := build/tune/fused.def

$(tune_program): $(tune_objects) $(internal)
	$(call quiet,LINK)$(CXX) $(tune_objects) $(internal) $(link_flags) $(libs) $(MPI_LIBS) -o $@

.PHONY: tune tune-fused tune-accept perf-tools
perf-tools: $(local_program) $(tile_program) $(tune_program)
tune:  ## measure this machine's choice table into build/tune (under five minutes)
	@tests/tools/deps build
	@$(MAKE) --no-print-directory $(tune_program)
	@mkdir -p $(dir $(tuned))
	$(tune_program) $(tuned)

tune-fused:  ## measure how fused calls go fastest on this machine into build/tune (under ten minutes)
	@perf/tools/deps_perf
	@$(MAKE) --no-print-directory $(gemm_program) programs
	@mkdir -p $(dir $(tuned_fused))
	@build/venv/bin/python perf/tools/tune_fused $(tuned_fused) $(TUNE_FUSED)

# What has not been measured anew stays as it is.
tune-accept:  ## check the measured tables in: lib/coll/tuning/<machine>.def
	@name=$$(cat $(wildcard $(tuned) $(tuned_fused)) /dev/null | sed -n 's/^TW_MACHINE(\([a-z0-9_]*\),.*/\1/p; s,^// \([a-z0-9_]*\)$$,\1,p' | sort -u) && \
	test -n "$$name" || { echo "tune-accept: run make tune or make tune-fused first"; exit 1; }; \
	test "$$name" != generic || { echo "tune-accept: this machine has no row in lib/coll/tuning.def yet: add one"; exit 1; }; \
	file=lib/coll/tuning/$$name.def; \
	{ grep -v '^TW_FUSED' $(or $(wildcard $(tuned)),$$file); grep '^TW_FUSED' $(or $(wildcard $(tuned_fused)),$$file) || true; } > $(tuned).new && \
	mv $(tuned).new $$file && echo "$$file: accepted"

# ---- Peers ------------------------------------------------------------------------------------------
peers := build/peers
mpi_of_wheel = -I$(peers)/$(1)/include -L$(peers)/$(1)/lib -Wl,-rpath,$(abspath $(peers))/$(1)/lib -lmpi
mpi_openmpi4 = $(MPI_CFLAGS) $(MPI_LIBS)
mpi_openmpi5 = $(call mpi_of_wheel,openmpi5)
mpi_impi = $(call mpi_of_wheel,impi)
mpi_mpich5 = $(call mpi_of_wheel,mpich5)
perf_peers := $(addprefix $(B)/perf/peers/,openmpi4 openmpi5 impi mpich5)

perf-peers: $(perf_peers)

$(perf_peers): $(B)/perf/peers/%: perf/peers/mpi_backend.cc $(perf_peer_objects)
	$(call quiet,PEER)$(compile_cxx) $(filter-out -MMD -MP,$(cxx_flags)) $< $(perf_peer_objects) $(mpi_$*) -pthread -o $@

# A peer for each pair of a oneDNN and an MPI: build/perf/peers/<dnnl>_<mpi>.
dnnls := dnnl2 dnnl3
dnnl_flags_dnnl3 = -I$(peers)/dnnl3/include
dnnl_libs_dnnl2 = -ldnnl
dnnl_libs_dnnl3 = -L$(peers)/dnnl3/lib -Wl,-rpath,$(abspath $(peers))/dnnl3/lib -ldnnl
gemm_peers := $(foreach d,$(dnnls),$(foreach p,$(notdir $(perf_peers)),$(B)/perf/peers/$(d)_$(p)))
gemm_peer_objects := $(filter-out $(gemm_engine),$(gemm_objects)) $(addprefix $(B)/obj/perf/peers/,bf16_sum.o bf16_norm.o)

perf-gemm-peers: $(gemm_peers)

$(dnnls:%=$(B)/obj/perf/peers/%_engine.o): $(B)/obj/perf/peers/%_engine.o: perf/peers/dnnl_engine.cc $(flags_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(dnnl_flags_$*) -c $< -o $@

define gemm_peer_rule
$$(B)/perf/peers/$(1)_$(2): perf/peers/mpi_backend.cc $$(gemm_peer_objects) $$(B)/obj/perf/peers/$(1)_engine.o
	$$(call quiet,PEER)$$(compile_cxx) $$(filter-out -MMD -MP,$$(cxx_flags)) $$^ $$(dnnl_libs_$(1)) $$(mpi_$(2)) -pthread -o $$@
endef
$(foreach d,$(dnnls),$(foreach p,$(notdir $(perf_peers)),$(eval $(call gemm_peer_rule,$(d),$(p)))))

deps-perf:  ## install the peers of perf-* (apt and PyPI wheels); never in CI
	@perf/tools/deps_perf

perf-coll:  ## collectives against every MPI: build/perf/coll.{jsonl,txt,png}; exit 1 on a missed must
	@perf/tools/deps_perf
	@$(MAKE) --no-print-directory perf-programs perf-peers programs $(local_program)
	@build/venv/bin/python perf/tools/perf_coll $(PERF_COLL)

# QUICK=1: the bars' rows only. PERF_GEMM, PERF_FUSED: further options.
perf-gemm:  ## GEMM against oneDNN: build/perf/gemm.{jsonl,txt}; exit 1 on a missed must
	@perf/tools/deps_perf
	@$(MAKE) --no-print-directory perf-programs perf-gemm-peers programs
	@build/venv/bin/python perf/tools/perf_gemm $(if $(QUICK),--quick) $(PERF_GEMM)

perf-fused:  ## fused GEMM against oneDNN + MPI and its own parts: build/perf/fused.{jsonl,txt,png}; exit 1 on a missed must
	@perf/tools/deps_perf
	@$(MAKE) --no-print-directory perf-programs perf-gemm-peers perf-peers programs
	@build/venv/bin/python perf/tools/perf_fused $(if $(QUICK),--quick) $(PERF_FUSED)

# Without llama.cpp, which deps_perf tells, perf-model measures ours alone.
bench_model := build/models/smollm2.gguf
perf-model:  ## SmolLM2 against llama.cpp and op by op: build/perf/model.{jsonl,txt,md,png}; exit 1 on a missed must
	@tests/tools/deps build plot demo
	@perf/tools/deps_perf llama || true
	@tests/tools/demo_model $(bench_model)
	@$(MAKE) --no-print-directory $(B)/perf/model_perf $(B)/bin/tw_run
	@build/venv/bin/python perf/tools/perf_model --model $(bench_model) $(if $(QUICK),--quick) $(PERF_MODEL)

perf-layer:  ## a Llama-70B layer against the machine and op by op: build/perf/layer.{jsonl,txt,md,png}; exit 1 on a missed must
	@tests/tools/deps build plot
	@$(MAKE) --no-print-directory $(B)/perf/layer_perf $(B)/bin/tw_run
	@build/venv/bin/python perf/tools/perf_layer $(PERF_LAYER)

perf: perf-local perf-coll perf-gemm perf-fused perf-model perf-layer  ## all benchmarks against their peers
