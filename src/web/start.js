// Starts the page. When one of its files does not arrive, for example because the phone changed its network meanwhile, the
// whole page is loaded again: a browser asks for a module only once in the life of a document.

// How long after that.
const AGAIN = 5000;

import("./app.js").catch(() => setTimeout(() => location.reload(), AGAIN));
