#include "export/lora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "export/folder.h"
#include "io/files.h"
#include "io/json.h"
#include "io/low_rank.h"
#include "io/safetensors.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct Change {
  Tensor a, b;  // [r, in, …] and [out, r, …]
};

struct Adapter {
  std::map<std::string, Change> changes;  // by module
  double scale = 1;
};

Adapter read_adapter(const fs::path& path) {
  const TensorFile file = read_safetensors(path);
  Adapter out;
  const auto text = file.metadata.find("retort");
  const Json config = text != file.metadata.end() ? Json::parse(text->second, nullptr, false) : Json();
  const Json& adapter = json_at(config, "adapter");
  if (!adapter.is_object() || !json_at(adapter, "scale").is_number()) {
    throw RequestError(path.string() + ": is no adapter of a training with student.adapter = \"lora\"");
  }
  out.scale = adapter["scale"].get<double>();
  const std::string end = low_rank_name("", 'A');
  for (const auto& [name, a] : file.tensors) {
    if (!name.ends_with(end)) {
      continue;
    }
    const std::string module = name.substr(0, name.size() - end.size());
    const auto b = file.tensors.find(low_rank_name(module, 'B'));
    if (b == file.tensors.end()) {
      throw RequestError(path.string() + ": lacks '" + low_rank_name(module, 'B') + "'");
    }
    out.changes[module] = {a.to(at::kFloat), b->second.to(at::kFloat)};
  }
  return out;
}

// The nearest change of another rank, and the share of its square that is lost: singular values of B A, of which B and
// A have few columns and rows.
double change_rank(Change& change, int64_t rank) {
  const Tensor a = change.a.flatten(1).to(at::kDouble), b = change.b.flatten(1).to(at::kDouble);
  const auto [qa, ra] = at::linalg_qr(a.t());
  const auto [qb, rb] = at::linalg_qr(b);
  const auto [u, s, vh] = at::linalg_svd(at::mm(rb, ra.t()), /*full_matrices=*/false);
  const int64_t kept = std::min(rank, s.size(0));
  const Tensor root = s.narrow(0, 0, kept).sqrt();
  std::vector<int64_t> a_shape = change.a.sizes().vec(), b_shape = change.b.sizes().vec();
  a_shape[0] = kept;
  b_shape[1] = kept;
  const auto type = change.a.options();
  change.b = (at::mm(qb, u.narrow(1, 0, kept)) * root).to(type).contiguous().view(b_shape);
  change.a = (at::mm(vh.narrow(0, 0, kept), qa.t()) * root.unsqueeze(1)).to(type).contiguous().view(a_shape);
  const double all = s.square().sum().item<double>();
  return all > 0 ? s.narrow(0, kept, s.size(0) - kept).square().sum().item<double>() / all : 0;
}

// A table of rows, which PEFT changes by the transposed product, under other names.
bool is_table_of_rows(const std::string& module) {
  return module.ends_with("embedding") || module.ends_with("embedding_table");
}

std::string kohya_name(const std::string& component, std::string module) {
  std::replace(module.begin(), module.end(), '.', '_');
  return "lora_" + component + "_" + module;
}

TensorFile named(const Adapter& adapter, const std::string& component, LoraKeys keys) {
  TensorFile out;
  out.metadata = {{"format", "pt"}, {export_mark, RETORT_VERSION}};
  for (const auto& [module, change] : adapter.changes) {
    if (keys == LoraKeys::kohya) {
      if (is_table_of_rows(module)) {
        throw RequestError(
            "--keys kohya: the adapter changes the embedding '" + module +
            "', for which kohya's form has no place; expected another form, or student.layers without it");
      }
      const std::string name = kohya_name(component, module);
      out.tensors[name + ".lora_down.weight"] = change.a;
      out.tensors[name + ".lora_up.weight"] = change.b;
      out.tensors[name + ".alpha"] =
          at::scalar_tensor(adapter.scale * static_cast<double>(change.a.size(0)), change.a.options());
    } else {
      const std::string name = (keys == LoraKeys::peft ? "base_model.model." : component + ".") + module;
      const Tensor b = keys == LoraKeys::peft || adapter.scale == 1 ? change.b : change.b * adapter.scale;
      if (is_table_of_rows(module)) {
        out.tensors[name + ".lora_embedding_A"] = b.t().contiguous();
        out.tensors[name + ".lora_embedding_B"] = change.a.t().contiguous();
      } else {
        out.tensors[low_rank_name(name, 'A')] = change.a;
        out.tensors[low_rank_name(name, 'B')] = b;
      }
    }
  }
  return out;
}

Json peft_config(const Adapter& adapter, int64_t rank) {
  Json modules = Json::array(), ranks = Json::object(), alphas = Json::object();
  for (const auto& [module, change] : adapter.changes) {
    modules.push_back(module);
    if (const int64_t own = change.a.size(0); own != rank) {
      ranks[module] = own;
      alphas[module] = adapter.scale * static_cast<double>(own);
    }
  }
  return {{"peft_type", "LORA"},
          {"base_model_name_or_path", nullptr},
          {"r", rank},
          {"lora_alpha", adapter.scale * static_cast<double>(rank)},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"target_modules", modules},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true}};
}

}  // namespace

LoraExport write_lora(const fs::path& path, const std::string& component, LoraKeys keys, int64_t rank,
                      const fs::path& out) {
  const bool single = out.extension() == ".safetensors";
  if (single && keys == LoraKeys::peft) {
    throw RequestError("--out " + out.string() + ": is a file; PEFT's form is a folder of two files");
  }
  Adapter adapter = read_adapter(path);
  LoraExport made;
  made.modules = static_cast<int64_t>(adapter.changes.size());
  for (auto& [module, change] : adapter.changes) {
    if (rank > 0) {
      made.lost = std::max(made.lost, change_rank(change, rank));
    }
    made.rank = std::max(made.rank, change.a.size(0));
  }
  const TensorFile file = named(adapter, component, keys);
  const auto write = [&](const fs::path& folder, const std::string& name) {
    write_safetensors(folder / name, file);
    made.file = out / name;
  };
  if (single) {
    write_safetensors(out, file);
    made.file = out;
  } else {
    write_folder(out, [&](const fs::path& folder) {
      if (keys == LoraKeys::peft) {
        write(folder, "adapter_model.safetensors");
        write_text(folder / "adapter_config.json", spell(peft_config(adapter, made.rank), 2) + "\n");
      } else {
        write(folder, "pytorch_lora_weights.safetensors");
      }
    });
  }
  return made;
}

}  // namespace retort
