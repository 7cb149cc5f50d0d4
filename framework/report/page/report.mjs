// The report, in the order of its page.
import "./about.mjs";
import "./results.mjs";
import "./differences.mjs";
import "./maps.mjs";
import "./plots.mjs";
import "./ranks.mjs";
import "./samples.mjs";
import "./training.mjs";

// In milliseconds since the page was asked for, its layout included: from here on it can be used.
void document.body.offsetHeight;
document.documentElement.dataset.ready = performance.now().toFixed(1);
