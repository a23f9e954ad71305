// Reports page loads, web vitals, API calls and script errors of a page to Tachograph.
//
//   <script type="module">
//     import { report } from "/frontend.js";
//     report({ url: "https://tachograph.example.com/api/v1/frontend" });
//   </script>
//
// The page's origin must stand under `frontend.origins` in the service's configuration. Events
// are kept until the page is hidden, and go out as one beacon. No cookie is read or set, and no
// address, text or message leaves the page: routes are templates, errors have their names alone.

/** Events of one beacon at most; further ones are left out. */
const MOST = 100;

/** The template of a path where the application does not know better: ids become `{id}`. */
function template(path) {
  const isId = (part) => /\d{4,}|^\d+$|^[0-9a-f-]{8,}$|[^\w.~{}:-]/i.test(part) && !/^\{.*\}$/.test(part);
  const parts = path.split(/[?#]/)[0].split("/");
  return parts.map((part) => (part && isId(part) ? "{id}" : part)).join("/") || "/";
}

/**
 * Begins to report.
 *
 * - `url`: where to, `…/api/v1/frontend`
 * - `route`: gives the template of the page shown, such as `/orders/{id}`; without it, it is
 *   made of the path
 * - `apiRoute`: gives the template of a called URL, or null for calls not to be reported;
 *   without it, calls to the page's own origin are, by their path
 * - `share`: which share of page views is reported, 0 to 1
 */
export function report({ url, route, apiRoute, share = 1 }) {
  if (Math.random() >= share) return;
  const here = () => (route ? route() : template(location.pathname));
  const events = [];
  const add = (event) => events.length < MOST && events.push(event);
  const seconds = (milliseconds) => Math.max(0, milliseconds) / 1000;

  const observe = (type, each, options = {}) => {
    try {
      const observer = new PerformanceObserver((list) => list.getEntries().forEach(each));
      observer.observe({ type, buffered: true, ...options });
    } catch {
      // The browser does not know this type of entry.
    }
  };

  // Vitals are those of the page that was loaded, also if the application shows another since.
  const loaded = here();
  const vital = (name, milliseconds) =>
    add({ type: "web_vital", name, route: loaded, seconds: seconds(milliseconds) });

  observe("navigation", (entry) => {
    const start = entry.activationStart || 0;
    if (entry.responseStart > 0) vital("ttfb", entry.responseStart - start);
    const ended = () =>
      add({
        type: "page_load",
        route: loaded,
        navigation: entry.type,
        seconds: seconds(entry.loadEventEnd - start),
      });
    // The end of the event is known once it is over.
    if (entry.loadEventEnd > 0) ended();
    else addEventListener("load", () => setTimeout(() => entry.loadEventEnd > 0 && ended()));
  });
  observe("paint", (entry) => {
    if (entry.name === "first-contentful-paint") vital("fcp", entry.startTime);
  });

  // The last one before the page is used or hidden counts.
  let largest;
  observe("largest-contentful-paint", (entry) => (largest = entry.startTime));

  // The slowest interaction, or of many one in fifty slower ones is left aside.
  const interactions = new Map();
  const interaction = (entry) => {
    if (!entry.interactionId) return;
    const known = interactions.get(entry.interactionId) || 0;
    interactions.set(entry.interactionId, Math.max(known, entry.duration));
  };
  observe("event", interaction, { durationThreshold: 40 });
  observe("first-input", interaction);
  const slowest = () => {
    const sorted = [...interactions.values()].sort((a, b) => b - a);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length / 50))];
  };

  // Shifts less than a second apart, over five seconds at most, make one; the largest counts.
  let shift = 0;
  let [current, first, last] = [0, 0, 0];
  let shifts = false;
  observe("layout-shift", (entry) => {
    shifts = true;
    if (entry.hadRecentInput) return;
    const together = entry.startTime - last < 1000 && entry.startTime - first < 5000;
    if (!together) [current, first] = [0, entry.startTime];
    last = entry.startTime;
    current += entry.value;
    shift = Math.max(shift, current);
  });
  const shiftsKnown = () =>
    shifts || (PerformanceObserver.supportedEntryTypes || []).includes("layout-shift");

  const templateOf = (called) => {
    if (apiRoute) return apiRoute(called);
    return called.origin === location.origin ? template(called.pathname) : null;
  };
  const fetched = globalThis.fetch;
  globalThis.fetch = async function (input, init) {
    const called = new URL(input.url || input, location.href);
    const name = called.href.startsWith(url) ? null : templateOf(called);
    const method = ((init && init.method) || input.method || "GET").toUpperCase();
    const start = performance.now();
    const done = (outcome) =>
      name && add({ type: "api_call", route: name, method, seconds: seconds(performance.now() - start), ...outcome });
    try {
      const response = await fetched.call(this, input, init);
      // An opaque answer does not tell.
      if (response.status) done({ status: response.status });
      return response;
    } catch (error) {
      done({ error: error && error.name === "AbortError" ? "aborted" : "network" });
      throw error;
    }
  };

  addEventListener(
    "error",
    (event) => {
      const resource = event.target && event.target !== globalThis && !event.error;
      const name = (event.error && event.error.name) || undefined;
      add({ type: "error", route: here(), kind: resource ? "resource" : "exception", name });
    },
    true,
  );
  addEventListener("unhandledrejection", (event) => {
    const name = (event.reason && event.reason.name) || undefined;
    add({ type: "error", route: here(), kind: "unhandled_rejection", name });
  });

  // Vitals are final when the page is hidden for the first time.
  let final = false;
  const flush = () => {
    if (!final) {
      final = true;
      if (largest !== undefined) vital("lcp", largest);
      if (interactions.size > 0) vital("inp", slowest());
      if (shiftsKnown()) add({ type: "layout_shift", route: loaded, score: shift });
    }
    if (events.length === 0) return;
    // A text needs no preflight, which a page that goes away would not live to see.
    navigator.sendBeacon(url, JSON.stringify({ events: events.splice(0) }));
  };
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && flush());
  addEventListener("pagehide", flush);
}
