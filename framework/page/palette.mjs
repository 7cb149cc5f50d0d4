// Ten colours that are told apart, dark ones on light ground and light ones on dark ground.
const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)").matches;
export const palette = dark
  ? ["#8ea4ff", "#ff9b6a", "#69db7c", "#da9cf0", "#f783ac", "#3bc9db", "#ffc078", "#adb5bd", "#b5c4ff", "#ffa8c5"]
  : ["#3451b2", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#b35900", "#495057", "#5c7cfa", "#a61e4d"];
