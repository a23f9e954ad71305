// A page as far as the frontend script looks at it: plays one view and prints what it sends.
const handlers = {};
globalThis.addEventListener = (type, handler) => (handlers[type] ||= []).push(handler);
const emit = (type, event) => (handlers[type] || []).forEach((handler) => handler(event));
const observers = {};
globalThis.PerformanceObserver = class {
  static supportedEntryTypes = ["layout-shift"];
  constructor(callback) {
    this.callback = callback;
  }
  observe({ type }) {
    if (type === "first-input") throw new TypeError("not supported");
    observers[type] = (...entries) => this.callback({ getEntries: () => entries });
  }
};
globalThis.document = { visibilityState: "visible", addEventListener: globalThis.addEventListener };
globalThis.location = {
  pathname: "/orders/12345",
  href: "https://app.example.com/orders/12345?token=secret",
  origin: "https://app.example.com",
};
const sendBeacon = (url, body) => console.log(JSON.stringify({ url, body })) || true;
Object.defineProperty(globalThis, "navigator", { value: { sendBeacon }, configurable: true });
globalThis.fetch = async (url) => {
  if (String(url).includes("broken")) throw new TypeError("Failed to fetch");
  return { status: String(url).includes("missing") ? 404 : 200 };
};

const { report } = await import(process.argv[2]);
report({ url: "https://tachograph.example.com/api/v1/frontend" });
observers.navigation({ type: "reload", responseStart: 300, loadEventEnd: 2000 });
observers.paint({ name: "first-paint", startTime: 1 }, { name: "first-contentful-paint", startTime: 900 });
observers["largest-contentful-paint"]({ startTime: 1500 }, { startTime: 2400 });
observers.event({ interactionId: 0, duration: 900 }, { interactionId: 1, duration: 80 }, { interactionId: 2, duration: 240 });
observers["layout-shift"](
  { value: 0.05, startTime: 100 },
  { value: 0.1, startTime: 600 },
  { value: 0.4, startTime: 700, hadRecentInput: true },
  { value: 0.03, startTime: 9000 },
);
await fetch("/api/items/77?q=private", { method: "post" });
await fetch("/api/missing");
await fetch("https://elsewhere.example.com/x");
await fetch("/api/broken").catch(() => {});
emit("error", { error: new RangeError("text that stays"), target: globalThis });
emit("error", { target: { src: "https://cdn.example.com/a.js" } });
emit("unhandledrejection", { reason: "text that stays" });
document.visibilityState = "hidden";
emit("visibilitychange", {});
// Nothing is sent twice.
emit("pagehide", {});
