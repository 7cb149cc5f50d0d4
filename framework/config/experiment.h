/// A configuration made into parts: every plugin built, every key checked.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/affects.h"
#include "config/parts_memo.h"
#include "config/settings.h"
#include "config/tables.h"
#include "encode/latent_data.h"
#include "plugin/registry.h"
#include "retort/autoencoder.h"
#include "retort/dataset.h"
#include "retort/host.h"
#include "retort/loss.h"
#include "retort/metric.h"
#include "retort/teacher.h"
#include "retort/tracker.h"

namespace retort {

/// Trains the model of a configuration, or finds it trained, and returns its checkpoint.
using ModelMaker = std::function<std::string(const std::string& config)>;

/// Which parts a command needs; the tables of the others are left alone.
enum class Parts { all, solving, encoding };

/// What [backend] type says where the program shall choose.
inline constexpr const char* choose_for_me = "auto";
/// A shape as messages show it: "3 x 32 x 32".
std::string spell(at::IntArrayRef shape);

class Experiment final : public Host {
 public:
  /// `root` is a checked-for-syntax configuration without [sweep]. Throws RequestError for whatever is wrong in it.
  /// Where a checkpoint is wanted and a configuration (.toml) is named, `maker` makes one of it. Parts that `memo`
  /// holds are not built again: for those who only look.
  Experiment(const Value& root, const std::string& default_name, const Registry& registry, Parts parts = Parts::all,
             ModelMaker maker = {}, PartsMemo* memo = nullptr);

  std::optional<RunSettings> run;
  std::optional<EncodeSettings> encode;  // where there is [encode], or it is what is wanted
  std::optional<StudentSettings> student;
  std::optional<TrainSettings> train;
  std::optional<EvaluateSettings> evaluate;
  std::optional<ReportSettings> report;
  std::optional<TrackSettings> track;

  std::shared_ptr<Dataset> dataset;  // of states: where there is an autoencoder, `latents`
  std::shared_ptr<Autoencoder> autoencoder;
  std::shared_ptr<LatentData> latents;  // null without autoencoder or data
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver;
  std::shared_ptr<Schedule> schedule;
  std::shared_ptr<Loss> loss;
  std::vector<std::pair<std::string, std::shared_ptr<Metric>>> metrics;
  std::vector<std::pair<std::string, std::shared_ptr<Tracker>>> trackers;
  std::shared_ptr<Network> feature_network;  // of evaluate.features

  /// The data set that gives pictures where there are any: the one whose pictures are encoded, or the data set.
  const Dataset* picture_data() const;
  /// Pictures of states, as metrics see them: decoded, or the states themselves. x: [n, …]
  Tensor pictures(const Tensor& x) const;
  /// The same with values in [0, 1], for showing; undefined where they are none.
  Tensor shown(const Tensor& x) const;
  /// The shape of a picture; of a state where there is no autoencoder.
  std::vector<int64_t> picture_shape() const;

  /// A network for training, with its initial weights, on the backend.
  std::shared_ptr<Network> new_network();
  /// The trained model around an evaluator of its network.
  Model model(std::shared_ptr<CompiledNetwork> network) const;
  /// What a checkpoint says of the trained model: the table "model".
  Value model_table() const;
  /// Throws RequestError where a checkpoint's table "model" is of another kind of model than this experiment trains.
  void check_model(const Checkpoint& checkpoint, const std::string& path) const;

  /// The configuration with every default filled in.
  const Value& resolved() const { return resolved_; }
  /// The same with its paths spelled from `folder`, to be kept there.
  Value resolved_for(const std::filesystem::path& folder) const;
  /// What the files and folders hold that [autoencoder] names, as a hash; empty where it names none. `names` lists
  /// them.
  std::string autoencoder_files(std::string& names) const;
  /// What the tables that decide something amount to: the values of all keys that can change a result
  /// (config/affects.h), the contents of the files and folders that they name and of the plugins that they load. Equal
  /// texts, equal numbers.
  std::string fingerprint(Decides what) const;
  /// The part of it that one table is.
  std::string fingerprint(const TableInfo& table) const;
  /// The same of all tables: everything that the trained weights depend on, and everything that results depend on.
  std::string training_fingerprint() const;
  std::string fingerprint() const;
  /// The same for the teacher's samples and what is measured of them, and for solves by the configured solver.
  std::string teacher_key() const;
  std::string solve_key() const;
  /// The same for exact ends of the teacher's ODE from the samples' noise, whatever the solver and the grid.
  std::string ode_key() const;
  /// The type of the loss; of a sum, those of its terms: "meanflow + dmd2". "" where there is none.
  std::string loss_name() const;
  /// The checkpoint that a student with student.init = "teacher" begins from, or "".
  const std::string& teacher_checkpoint() const { return teacher_checkpoint_; }

  /// Whether the trained model is given class labels.
  int64_t classes() const { return spec_.classes(); }
  /// How often each class is to be sampled, as evaluate.labels asks; they sum to 1.
  const std::vector<double>& class_shares() const;

  // Host
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override;
  const Process& process() const override { return process_; }
  bool process_given() const override { return process_given_; }
  ModelSpec spec() const override { return spec_; }
  /// The backend of frozen networks (teacher, target, models that are evaluated): [backend.teacher], or [backend].
  const Backend& backend() const override { return *frozen_backend_; }
  /// The backend that the student is trained with: [backend.student], or [backend].
  const Backend& training_backend() const { return *training_backend_; }
  /// Whether the configuration left the choice of a backend to the program.
  bool automatic_backend() const { return automatic_backend_; }
  Checkpoint checkpoint(const std::string& path) override;
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override;

 private:
  template <class T>
  std::shared_ptr<T> build(const std::string& table);
  template <class T>
  std::vector<std::pair<std::string, std::shared_ptr<T>>> build_listed(const char* table, const char* key,
                                                                       const std::vector<std::string>& names);
  using PartBuilder = std::function<std::shared_ptr<void>()>;
  std::shared_ptr<void> build_plugin(const char* kind, const std::string& table, const Value& value);
  std::shared_ptr<void> make_plugin(const char* kind, const std::string& table, const Value& value);
  std::shared_ptr<void> remember(const std::string& table, const std::string& content, const PartBuilder& build);
  PartsMemo::Part record(const std::string& table, const PartBuilder& build);
  std::string surroundings() const;
  template <class F>
  void host_table(const std::string& table, F read);
  void build_backends();
  std::shared_ptr<void> choose_backend(const std::string& table, const Value& value);
  std::string objective_of(const Checkpoint& checkpoint) const;
  void build_parts();
  void build_data();
  void check_decodes() const;
  void check_made_by(const Params& p) const;
  void build_schedule();
  void choose_solving();
  void spend_evaluations();
  void build_trained_model();
  void build_loss();
  void check_network_inputs(const Network& network, const Value& origin) const;
  void check_sampler_steps() const;
  void check_sampler_times(const Tensor& grid) const;
  void check_averages() const;
  void drop_points_beyond_the_end();
  void drop_steps_of_generators();
  Tensor features_of_one(Network& network) const;
  std::shared_ptr<Network> build_features(const Params& p);
  std::optional<Value> take_features_table();
  void build_encoder(const Value& table);
  void check_parts() const;
  void check_inputs() const;
  void check_defined(const char* table, const Parametrisation& form, const Boundary* boundary) const;
  void keep(const Params& p, const std::string& path);
  void note_use(const char* kind, const std::string& name);
  const std::string& content_of(const std::string& path) const;
  std::string fingerprint_of(const TableInfo& table, Affects least) const;

  const Registry& registry_;
  ModelMaker maker_;
  PartsMemo* memo_;
  std::map<std::string, std::string> made_;            // configuration to the checkpoint made of it
  std::string table_;                                  // the one that is being read
  std::map<std::string, std::set<std::string>> used_;  // table to its plugins' hashes
  std::filesystem::path prefer_;                       // [plugins]
  Value root_;
  Value resolved_;
  std::vector<std::string> paths_;  // dotted keys whose values are paths, or lists of them
  mutable std::vector<double> shares_;
  mutable std::map<std::string, std::string> contents_;  // of those files and folders, as hashes
  std::shared_ptr<Backend> backend_, frozen_backend_, training_backend_;
  bool automatic_backend_ = false;
  Process process_;
  bool process_given_ = false;
  ModelSpec spec_;
  std::vector<std::string> notes_;  // to be said once all is found to be right
  std::string last_checkpoint_;     // what the teacher read, for students that begin there
  std::string teacher_checkpoint_;
  Value network_table_;  // [network], or the teacher's
  Parametrisation parametrisation_;
  Boundary boundary_;
};

}  // namespace retort
