// Server-sent events by fetch: so that a refusal can be read and told (EventSource hides it), and a pause is a pause.

const LOST_AFTER_MS = 6000;
const HIDDEN_AFTER_MS = 15000;

/** Calls `on[name](data)` for each event and `state(what, why)` for "wait", "live", "paused", "lost", "login". */
export class Stream {
  constructor(address, on, state) {
    this.address = address;
    this.on = on;
    this.state = state;
    this.paused = false;
    this.hidden = false;
    this.failures = 0;
    this.abort = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.visibility());
    window.addEventListener("online", () => this.hurry());
  }

  start() {
    this.run();
  }

  pause(paused) {
    this.paused = paused;
    if (paused) this.stop("paused");
    else this.run();
  }

  /** A tab that nobody sees need not be sent anything. */
  visibility() {
    clearTimeout(this.hideTimer);
    if (document.hidden) {
      this.hideTimer = setTimeout(() => {
        this.hidden = true;
        this.stop("paused");
      }, HIDDEN_AFTER_MS);
    } else if (this.hidden) {
      this.hidden = false;
      if (!this.paused) this.run();
    } else this.hurry();
  }

  /** Somebody looks, or the network is back: what waits to be tried again is tried now. */
  hurry() {
    if (this.failures && !this.paused && !this.hidden) this.run();
  }

  stop(state) {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
    this.state(state);
  }

  async run() {
    clearTimeout(this.timer);
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    let why = "the worker does not answer";
    try {
      const response = await fetch(this.address, { signal: abort.signal, headers: { Accept: "text/event-stream" } });
      if (response.status === 401) return this.state("login");
      if (!response.ok) {
        why = (await problem(response)).detail;
      } else {
        await this.read(response.body.getReader(), abort);
        why = "the worker ended the connection";
      }
    } catch (error) {
      if (this.abort !== abort) return; // paused, hidden or begun anew
      if (error.name === "AbortError") why = "the worker has said nothing for some seconds";
    }
    if (this.abort !== abort) return;
    this.state("lost", why);
    this.failures++;
    this.timer = setTimeout(() => this.run(), Math.min(10000, 500 * 2 ** this.failures));
  }

  async read(reader, abort) {
    const decoder = new TextDecoder();
    let held = "";
    let silence = 0;
    try {
      for (;;) {
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), LOST_AFTER_MS);
        const { done, value } = await reader.read();
        if (done) return;
        held += decoder.decode(value, { stream: true });
        const events = held.split("\n\n");
        held = events.pop();
        for (const event of events) this.take(event);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  take(event) {
    const [first, second] = event.split("\n");
    if (!second?.startsWith("data: ")) return;
    this.failures = 0;
    this.state("live");
    this.on[first.slice(7)]?.(JSON.parse(second.slice(6)));
  }
}

/** What a refusal says: problem+json where it is that. */
export async function problem(response) {
  try {
    return await response.json();
  } catch {
    return { detail: `the worker answered ${response.status}` };
  }
}

/** GET or POST JSON; raises an Error whose message a person can act on. */
export async function ask(address, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "application/json" }, ...options });
  } catch {
    throw new Error("The worker does not answer.");
  }
  if (response.ok) return response.json();
  const said = await problem(response);
  const error = new Error(response.status === 401 ? "Your session is over: reload the page and give the token." : said.detail);
  error.status = response.status;
  throw error;
}
