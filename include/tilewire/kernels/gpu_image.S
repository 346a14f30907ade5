// One kernel source for one GPU target: the bytes of its cubin and its PTX, NUL-terminated.
// Assembled once for each, with TW_IMAGE = <kernel>_<target> and the two file names in quotes.
#define TW_JOIN_(a, b, c) a##b##c
#define TW_JOIN(a, b, c) TW_JOIN_(a, b, c)
#define TW_SYMBOL(part) TW_JOIN(tw_gpu_, TW_IMAGE, part)

  .section .note.GNU-stack, "", %progbits
  .section .rodata
  .balign 64
  .hidden TW_SYMBOL(_cubin)
  .globl TW_SYMBOL(_cubin)
TW_SYMBOL(_cubin):
  .incbin TW_CUBIN
  .hidden TW_SYMBOL(_cubin_end)
  .globl TW_SYMBOL(_cubin_end)
TW_SYMBOL(_cubin_end):
  .balign 64
  .hidden TW_SYMBOL(_ptx)
  .globl TW_SYMBOL(_ptx)
TW_SYMBOL(_ptx):
  .incbin TW_PTX
  .byte 0
