// Loads and stores of float32 and bfloat16, and SiLU, for the kernels by Highway. Included once for each instruction
// set.
#if defined(RETORT_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RETORT_LANES_INL_H
#undef RETORT_LANES_INL_H
#else
#define RETORT_LANES_INL_H
#endif

#include <hwy/highway.h>

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace retort_onednn {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE V load(D d, const float* from) { return hn::LoadU(d, from); }
HWY_INLINE V load(D d, const hwy::bfloat16_t* from) {
  const hn::Rebind<hwy::bfloat16_t, D> half;
  return hn::PromoteTo(d, hn::LoadU(half, from));
}
HWY_INLINE void store(D d, V v, float* to) { hn::StoreU(v, d, to); }
HWY_INLINE void store(D d, V v, hwy::bfloat16_t* to) {
  // Rounded to the nearest, ties to even: DemoteTo alone cuts off.
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(hn::Set(du, 0x7FFF), odd)));
  hn::StoreU(hn::TruncateTo(d16, rounded), d16, reinterpret_cast<uint16_t*>(to));
}
HWY_INLINE float single(float v) { return v; }
HWY_INLINE float single(hwy::bfloat16_t v) {
  const uint32_t bits = uint32_t{v.bits} << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
HWY_INLINE void put(float v, float* to) { *to = v; }
HWY_INLINE void put(float v, hwy::bfloat16_t* to) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  to->bits = static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// 1 / (1 + exp(-x)) to 1e-6 relative for |x| < 10. 2^f for f in [-1/2, 1/2] is Taylor's polynomial of degree 7.
HWY_INLINE V sigmoid(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V y = hn::Mul(hn::Clamp(x, hn::Set(d, -80.0F), hn::Set(d, 80.0F)), hn::Set(d, -1.44269504F));
  const V whole = hn::Round(y), f = hn::Sub(y, whole);
  V power = hn::Set(d, 1.525273e-5F);
  for (const float c : {1.540353e-4F, 1.333356e-3F, 9.618129e-3F, 5.550411e-2F, 2.402265e-1F, 6.931472e-1F, 1.0F}) {
    power = hn::MulAdd(power, f, hn::Set(d, c));
  }
  const auto scaled = hn::Add(hn::BitCast(di, power), hn::ShiftLeft<23>(hn::ConvertTo(di, whole)));
  const V denominator = hn::Add(hn::Set(d, 1.0F), hn::BitCast(d, scaled));
#if HWY_TARGET <= HWY_AVX3
  // 14 bits, doubled by one step of Newton's.
  const V guess = hn::ApproximateReciprocal(denominator);
  return hn::Mul(guess, hn::NegMulAdd(denominator, guess, hn::Set(d, 2.0F)));
#else
  return hn::Div(hn::Set(d, 1.0F), denominator);
#endif
}
HWY_INLINE V silu(D d, V x) { return hn::Mul(x, sigmoid(d, x)); }

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();
#endif
