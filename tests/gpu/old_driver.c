/* A driver of before CUDA 12, for gpu_driver_test: built as libcuda.so.1. */
int cuDriverGetVersion(int* version);

__attribute__((visibility("default"))) int cuDriverGetVersion(int* version) {
  *version = 11080;
  return 0;
}
