#include "help/completion.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

namespace retort {

namespace {

using Words = std::vector<std::string>;

// What the shells need to know of keys, parts and commands.
struct Tables {
  Words kinds, plugins, keys, subjects;  // subjects: what `explain` and `inspect` take beside keys
  std::map<std::string, Words> values;   // of a key, or of a `type`
};

void add_key(const Catalog& catalog, const std::string& key, const ParamInfo& p, Tables& out) {
  Words& values = out.values[key];
  const std::string kind = nested_kind(p.type);
  Words found = p.choices;
  if (p.type == "boolean") {
    found = {"true", "false"};
  } else if (!kind.empty() && !p.type.starts_with("list")) {
    found = catalog.registry().names(kind);
    out.keys.push_back(key + ".type");
    out.values[key + ".type"] = found;
  }
  for (const std::string& value : found) {
    if (std::find(values.begin(), values.end(), value) == values.end()) {
      values.push_back(value);
    }
  }
  out.keys.push_back(key);
}

Tables tables_for_shells(const Catalog& catalog) {
  Tables out;
  for (const std::string kind : plugin_kinds) {
    out.kinds.push_back(kind);
    const bool is_table = find_table(kind) != nullptr;
    for (const PluginDescription& plugin : catalog.plugins(kind)) {
      out.plugins.push_back(plugin.file.name);
      const std::string table = table_of(kind, plugin.file.name);
      for (const ParamInfo& p : plugin.params) {
        if (is_table) {
          add_key(catalog, table + "." + p.name, p, out);
        }
      }
    }
    for (const ParamInfo& p : catalog.host_keys(kind)) {
      if (is_table && !is_listed(kind)) {
        add_key(catalog, kind + "." + p.name, p, out);
      }
    }
  }
  for (const TableInfo& table : tables()) {
    out.subjects.emplace_back(table.name);
    if (const PluginDescription* part = catalog.table(table.name)) {
      for (const ParamInfo& p : part->params) {
        add_key(catalog, table.name + std::string(".") + p.name, p, out);
      }
    }
  }
  for (Words* words : {&out.plugins, &out.keys}) {
    std::sort(words->begin(), words->end());
    words->erase(std::unique(words->begin(), words->end()), words->end());
  }
  std::erase_if(out.values, [](const auto& entry) { return entry.second.empty(); });
  return out;
}

std::string joined(const Words& words) {
  std::string out;
  for (const std::string& w : words) {
    out += (out.empty() ? "" : " ") + w;
  }
  return out;
}

// In single quotes, as all three shells read them. An apostrophe becomes a typographic one.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text.substr(0, text.find('\n'))) {
    out += c == '\'' ? "’" : c == '\\' ? "/" : std::string(1, c);
  }
  return out + "'";
}

// What may be completed for a place or an option's value, by what it is called.
std::string sort_of(const std::string& value) {
  static const std::map<std::string, std::string> known = {
      {"CONFIG", "config"},  {"--compiled", "config"}, {"OVERRIDES", "override"}, {"SETTINGS", "none"},
      {"--set", "override"}, {"KIND", "kind"},         {"--kind", "kind"},        {"PLUGIN", "plugin"},
      {"NAME", "name"},      {"KEY", "key"},           {"SHELL", "shell"},        {"--in", "folder"},
      {"RUN", "file"},       {"FOLDER", "folder"},     {"--plugin-dir", "folder"}};
  const auto found = known.find(value);
  return found != known.end() ? found->second : "file";
}

Words names_of(const std::vector<CommandWords::Option>& options) {
  Words out;
  for (const CommandWords::Option& o : options) {
    out.insert(out.end(), o.names.begin(), o.names.end());
  }
  return out;
}

// An associative array, which bash and zsh write alike but for the brackets.
using Entries = std::vector<std::pair<std::string, std::string>>;
std::string array(const std::string& shell, const std::string& name, const Entries& entries) {
  const bool bash = shell == shells[0];
  std::string out = (bash ? "declare -gA " : "typeset -gA ") + name + "=(\n";
  for (const auto& [key, value] : entries) {
    out += bash ? "  [" + key + "]=" + quoted(value) + "\n" : "  " + quoted(key) + " " + quoted(value) + "\n";
  }
  return out + ")\n";
}

// The words themselves, as variables.
std::string variables(const std::string& shell, const Tables& tables, const std::vector<CommandWords>& commands,
                      const std::vector<CommandWords::Option>& general) {
  Words names;
  Entries options, takes, places, values;
  for (const CommandWords& c : commands) {
    names.push_back(c.name);
    Words own = names_of(c.options);
    // But for --help, which each has, and --version, which is the program's.
    for (const CommandWords::Option& o : general) {
      own.insert(own.end(), o.names.begin(), o.value.empty() ? o.names.begin() : o.names.end());
    }
    options.emplace_back(c.name, joined(own));
    Words sorts;
    for (const std::string& place : c.places) {
      sorts.push_back(sort_of(place));
    }
    places.emplace_back(c.name, joined(sorts));
    for (const CommandWords::Option& o : c.options) {
      for (const std::string& name : o.names) {
        if (!o.value.empty()) {
          takes.emplace_back(c.name + ":" + name, sort_of(o.value));
        }
      }
    }
  }
  for (const CommandWords::Option& o : general) {
    for (const std::string& name : o.names) {
      if (!o.value.empty()) {
        takes.emplace_back(":" + name, sort_of(o.value));
      }
    }
  }
  for (const auto& [key, words] : tables.values) {
    values.emplace_back(key, joined(words));
  }
  const auto text = [](const std::string& name, const Words& words) {
    return name + "=" + quoted(joined(words)) + "\n";
  };
  return text("_retort_commands", names) + text("_retort_general", names_of(general)) +
         text("_retort_kinds", tables.kinds) + text("_retort_plugins", tables.plugins) +
         text("_retort_subjects", tables.subjects) + text("_retort_keys", tables.keys) +
         text("_retort_shells", {std::begin(shells), std::end(shells)}) + array(shell, "_retort_options", options) +
         array(shell, "_retort_takes", takes) + array(shell, "_retort_places", places) +
         array(shell, "_retort_values", values);
}

constexpr const char* bash_functions = R"END(
# Sets `sort` to what stands at the cursor, `command` and `cur` to the command and the word so far.
_retort_look() {
  local line=${COMP_LINE:0:COMP_POINT} words word skip= place=0 all
  line=${line//\\ /$'\1'}  # a space that is quoted by "\" divides no words
  cur=${line##*[[:space:]]}
  command= sort=command
  read -ra words <<<"${line%"$cur"}"
  cur=${cur//$'\1'/ }
  for word in "${words[@]:1}"; do
    if [ -n "$skip" ]; then
      skip=
    elif [[ $word == -* ]]; then
      skip=${_retort_takes["$command:$word"]:-${_retort_takes[":$word"]:-}}
    elif [ -z "$command" ]; then
      command=$word
    else
      place=$((place + 1))
    fi
  done
  if [ -n "$skip" ]; then
    sort=$skip
  elif [[ $cur == -* ]]; then
    sort=option
  elif [ -n "$command" ]; then
    sort=none
    read -ra all <<<"${_retort_places[$command]-file}"
    if [ "${#all[@]}" -gt 0 ]; then
      [ "$place" -lt "${#all[@]}" ] || place=$((${#all[@]} - 1))
      sort=${all[$place]}
    fi
  fi
}

_retort() {
  local cur command sort key word
  COMPREPLY=()
  _retort_look
  # So that names with spaces are quoted, and folders end with "/".
  case $sort in
    file | folder | config | plugin) compopt -o filenames 2>/dev/null ;;
  esac
  case $sort in
    command) mapfile -t COMPREPLY < <(compgen -W "$_retort_commands $_retort_general" -- "$cur") ;;
    option) mapfile -t COMPREPLY < <(compgen -W "${_retort_options[$command]:-$_retort_general}" -- "$cur") ;;
    kind) mapfile -t COMPREPLY < <(compgen -W "$_retort_kinds" -- "$cur") ;;
    plugin) mapfile -t COMPREPLY < <(compgen -W "$_retort_plugins" -- "$cur"; compgen -f -X '!*.so' -- "$cur") ;;
    name) mapfile -t COMPREPLY < <(compgen -W "$_retort_plugins $_retort_subjects" -- "$cur") ;;
    key) mapfile -t COMPREPLY < <(compgen -W "$_retort_keys $_retort_plugins $_retort_subjects" -- "$cur") ;;
    shell) mapfile -t COMPREPLY < <(compgen -W "$_retort_shells" -- "$cur") ;;
    folder) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    config) mapfile -t COMPREPLY < <(compgen -f -X '!*.toml' -- "$cur"; compgen -d -- "$cur") ;;
    override)
      if [[ $cur == *=* ]]; then
        key=${cur%%=*} word=${cur#*=}
        if [ -n "${_retort_values[$key]:-}" ]; then
          mapfile -t COMPREPLY < <(compgen -W "${_retort_values[$key]}" -- "$word")
        else
          mapfile -t COMPREPLY < <(compgen -f -- "$word")
        fi
        # The shell replaces what stands behind the last "=", where that divides words.
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$key=}")
      else
        mapfile -t COMPREPLY < <(compgen -W "$_retort_keys" -S = -- "$cur")
        compopt -o nospace 2>/dev/null
      fi ;;
    file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
  esac
}
complete -F _retort retort ./retort
)END";

constexpr const char* zsh_functions = R"END(
_retort() {
  local command= skip= word key place=0 sort=command
  local -a all
  for word in "${(@)words[2,CURRENT-1]}"; do
    if [[ -n $skip ]]; then
      skip=
    elif [[ $word == -* ]]; then
      skip=${_retort_takes[$command:$word]:-${_retort_takes[:$word]}}
    elif [[ -z $command ]]; then
      command=$word
    else
      (( place += 1 ))
    fi
  done
  if [[ -n $skip ]]; then
    sort=$skip
  elif [[ $PREFIX == -* ]]; then
    sort=option
  elif [[ -n $command ]]; then
    all=(${=_retort_places[$command]-file})
    (( place < $#all )) || (( place = $#all - 1 ))
    sort=${all[place+1]:-none}
  fi
  case $sort in
    command) compadd -- ${=_retort_commands} ;;
    option) compadd -- ${=_retort_options[$command]:-$_retort_general} ;;
    kind) compadd -- ${=_retort_kinds} ;;
    plugin) compadd -- ${=_retort_plugins}; _files -g '*.so' ;;
    name) compadd -- ${=_retort_plugins} ${=_retort_subjects} ;;
    key) compadd -- ${=_retort_keys} ${=_retort_plugins} ${=_retort_subjects} ;;
    shell) compadd -- ${=_retort_shells} ;;
    folder) _files -/ ;;
    config) _files -g '*.toml' ;;
    override)
      if [[ $PREFIX == *=* ]]; then
        key=${PREFIX%%=*}
        compset -P '[^=]#='
        if [[ -n $_retort_values[$key] ]]; then
          compadd -- ${=_retort_values[$key]}
        else
          _files
        fi
      else
        compadd -S = -- ${=_retort_keys}
      fi ;;
    file) _files ;;
  esac
}
# Read from a folder of functions, this is the function's own body; else it is made known here.
if [[ $funcstack[1] == _retort ]]; then _retort "$@"; else compdef _retort retort ./retort; fi
)END";

// fish completes one condition a line.
std::string fish_script(const Tables& tables, const std::vector<CommandWords>& commands,
                        const std::vector<CommandWords::Option>& general) {
  std::string out =
      "function __retort_values\n  set -l word (commandline -ct)\n  set -l key (string replace -r '=.*' '' -- $word)\n"
      "  if not string match -q '*=*' -- $word\n    printf '%s=\\n' " +
      joined(tables.keys) + "\n    return\n  end\n  switch $key\n";
  for (const auto& [key, words] : tables.values) {
    out += "    case " + key + "\n      printf \"$key=%s\\n\" " + joined(words) + "\n";
  }
  out += "  end\nend\ncomplete -c retort -f\n";
  const std::map<std::string, std::string> of_sort = {
      {"kind", quoted(joined(tables.kinds))},
      {"plugin", quoted(joined(tables.plugins))},
      {"name", quoted(joined(tables.plugins) + " " + joined(tables.subjects))},
      {"key", quoted(joined(tables.keys) + " " + joined(tables.plugins) + " " + joined(tables.subjects))},
      {"shell", quoted(joined({std::begin(shells), std::end(shells)}))},
      {"override", "'(__retort_values)'"},
      {"config", "'(__fish_complete_suffix .toml)'"},
      {"folder", "'(__fish_complete_directories)'"}};
  const auto option = [&](const std::string& condition, const CommandWords::Option& o) {
    out += "complete -c retort" + condition;
    for (const std::string& name : o.names) {
      out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    const auto found = of_sort.find(sort_of(o.value));
    out += o.value.empty() ? "" : found != of_sort.end() ? " -x -a " + found->second : " -r -F";
    out += " -d " + quoted(o.about) + "\n";
  };
  for (const CommandWords::Option& o : general) {
    option("", o);
  }
  for (const CommandWords& c : commands) {
    out += "complete -c retort -n __fish_use_subcommand -a " + c.name + " -d " + quoted(c.about) + "\n";
    const std::string condition = " -n '__fish_seen_subcommand_from " + c.name + "'";
    std::set<std::string> done;
    for (const std::string& place : c.places) {
      const auto found = of_sort.find(sort_of(place));
      if (done.insert(sort_of(place)).second) {
        out += "complete -c retort" + condition + (found != of_sort.end() ? " -a " + found->second : " -F") + "\n";
      }
    }
    for (const CommandWords::Option& o : c.options) {
      option(condition, o);
    }
  }
  return out;
}

}  // namespace

std::string completion_script(const std::string& shell, const Catalog& catalog,
                              const std::vector<CommandWords>& commands,
                              const std::vector<CommandWords::Option>& general) {
  const Words known(std::begin(shells), std::end(shells));
  if (std::find(known.begin(), known.end(), shell) == known.end()) {
    throw RequestError("'" + shell + "' is no shell that can be served" + did_you_mean(shell, known) +
                       " (there are: bash, zsh, fish)");
  }
  const Tables tables = tables_for_shells(catalog);
  const std::string head = "# Completion of retort for " + shell + ", written by `retort completion " + shell + "`.\n";
  if (shell == "fish") {
    return head + fish_script(tables, commands, general);
  }
  const bool bash = shell == shells[0];
  return (bash ? head : "#compdef retort\n" + head) + variables(shell, tables, commands, general) +
         (bash ? bash_functions : zsh_functions);
}

}  // namespace retort
