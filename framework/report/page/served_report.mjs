// The report as `retort serve` shows it.
import "./report.mjs";
import "./live.mjs";
