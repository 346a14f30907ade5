# perf/<op>_perf.cc -> build/perf/<op>_perf; perf/support/*.cc is linked into each. They see MPI.

perf_names := $(patsubst perf/%.cc,$(B)/perf/%,$(wildcard perf/*_perf.cc))
perf_support_objects := $(patsubst %.cc,$(B)/obj/%.o,$(wildcard perf/support/*.cc))

.PHONY: perf-programs
perf-programs: $(perf_names)

$(B)/obj/perf/%.o: perf/%.cc $(flags_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(MPI_CFLAGS) -c $< -o $@

$(B)/perf/%_perf: $(B)/obj/perf/%_perf.o $(perf_support_objects) $(so_link)
	$(call quiet,LINK)$(CXX) $< $(perf_support_objects) $(link_flags) $(use_so) $(MPI_LIBS) -ldl -o $@
