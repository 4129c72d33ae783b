// The modules that only a page with turns needs.

import "./clipboard.js";
import "./code.js";
import "./times.js";
