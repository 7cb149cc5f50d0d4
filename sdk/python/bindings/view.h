/// What Python holds of an object of C++: its own, or one that is lent to it for the time of one call.
#pragma once

#include <retort/error.h>

#include <functional>
#include <memory>

namespace retort::python {

template <class T>
struct View {
  std::function<const T&()> of;
  const T& operator*() const { return of(); }
  const T* operator->() const { return &of(); }
};

/// Lends an object while it lives. A view that is used later throws an Error.
template <class T>
class Lending {
 public:
  explicit Lending(const T& object) : cell_(std::make_shared<const T*>(&object)) {}
  ~Lending() { *cell_ = nullptr; }
  Lending(const Lending&) = delete;
  Lending& operator=(const Lending&) = delete;

  View<T> view() const {
    return {[cell = cell_]() -> const T& {
      if (*cell == nullptr) {
        throw Error("was lent for one call, and is used after it");
      }
      return **cell;
    }};
  }

 private:
  std::shared_ptr<const T*> cell_;
};

}  // namespace retort::python
