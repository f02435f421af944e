"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const plainCode = (text) => text.toUpperCase().replace(/[^0-9A-Z]/g, "");
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (text) => new TextEncoder().encode(text);
const RETRY = 1000; // milliseconds until an answer is sent again
const MAX_ZOOM = 32;

function say(text) {
  find("#message").textContent = text;
}

// -- where trials come from and answers go --

// A server on this machine. It stores each answer before it replies.
class Server {
  async enter(code) {
    this.code = code;
    const reply = await this.send("/enter", { code });
    if (reply.error) throw new Error(reply.error === "unknown code" ? "This study has no such code." : reply.error);
    return reply;
  }

  source(name) {
    return `/pictures/${name}.webp`;
  }

  async store(answer) {
    const reply = await this.send("/answer", { code: this.code, answer });
    if (reply.error) throw new Error(reply.error);
  }

  // Send until the server replies: it may have been stopped and may come back.
  async send(path, content) {
    for (;;) {
      try {
        const reply = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
        const value = await reply.json();
        if (reply.status < 500) {
          say("");
          return value;
        }
      } catch {
        // no connection, or it broke
      }
      say("The server does not answer. Your answer is kept and sent again.");
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  finished() {
    return "All answers are stored. You can close this page.";
  }
}

// This file alone. The browser keeps the answers, and the rater returns them as a signed file.
class OneFile {
  async enter(code) {
    if (!globalThis.crypto?.subtle) throw new Error("This page must be opened as a file, or from an https address.");
    this.code = plainCode(code);
    const digest = hex(await crypto.subtle.digest("SHA-256", bytes(`${data.id}:${this.code}`)));
    this.rater = data.raters.findIndex((rater) => rater.code_sha256 === digest);
    if (this.rater < 0) throw new Error("This study has no such code.");
    this.answers = new Map(this.kept().map((answer) => [answer.trial, answer]));
    find("#returning").hidden = false;
    find("#save").addEventListener("click", () => this.save());
    this.count();
    return { trials: data.raters[this.rater].trials, answers: [...this.answers.values()] };
  }

  get place() {
    return `srgan-study-${data.id}-${this.rater + 1}`;
  }

  kept() {
    try {
      return JSON.parse(localStorage.getItem(this.place) ?? "[]");
    } catch {
      return []; // a browser without storage for files
    }
  }

  source(name) {
    return data.pictures[name];
  }

  async store(answer) {
    if (answer.choice) this.answers.set(answer.trial, answer);
    else this.answers.delete(answer.trial);
    try {
      localStorage.setItem(this.place, JSON.stringify([...this.answers.values()]));
    } catch {
      this.forgets = true;
    }
    this.count();
  }

  count() {
    const advice = this.forgets ? "This browser keeps no answers: save the file before you close the page." : "Return the file to the person who invited you.";
    find("#where").textContent = `${this.answers.size} answers. ${advice}`;
  }

  async save() {
    const payload = JSON.stringify({ study: data.id, rater: this.rater + 1, answers: [...this.answers.values()] });
    const key = await crypto.subtle.importKey("raw", bytes(this.code), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    const signature = hex(await crypto.subtle.sign("HMAC", key, bytes(payload)));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify({ payload, signature })], { type: "application/json" }));
    link.download = `answers-${this.rater + 1}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  finished() {
    return "Save the answer file and return it to the person who invited you.";
  }
}

// -- two pictures that zoom and move together --

class Viewer {
  constructor(element) {
    this.element = element;
    this.panes = [...element.querySelectorAll(".pane")];
    this.images = this.panes.map((pane) => pane.querySelector("img"));
    this.pointers = new Map();
    this.reset();
    for (const pane of this.panes) this.listen(pane);
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => this.act(button.dataset.zoom));
    new ResizeObserver(() => this.move()).observe(element);
  }

  // Show two pictures. They appear together, when both are decoded.
  async show(sources) {
    this.element.classList.add("loading");
    this.images.forEach((image, index) => (image.src = sources[index]));
    await Promise.all(this.images.map((image) => image.decode()));
    this.reset();
    this.element.classList.remove("loading");
  }

  // Small pictures begin with one pixel per pixel, which hides no difference. Large ones begin as a whole.
  reset() {
    this.x = this.y = 0.5; // centre of both panes, as a share of the pane at zoom 1
    this.zoom = Math.min(1, this.oneToOne());
    this.move();
  }

  // Return the zoom at which a pixel of the picture is a pixel of the page.
  oneToOne() {
    const [image, pane] = [this.images[0], this.panes[0]];
    if (!image.naturalWidth || !pane.clientWidth) return 1;
    return 1 / Math.min(pane.clientWidth / image.naturalWidth, pane.clientHeight / image.naturalHeight);
  }

  move() {
    const room = 0.5 / this.zoom;
    this.x = room < 0.5 ? clamp(this.x, room, 1 - room) : 0.5;
    this.y = room < 0.5 ? clamp(this.y, room, 1 - room) : 0.5;
    const style = this.element.style;
    style.setProperty("--zoom", this.zoom);
    style.setProperty("--x", `${(0.5 - this.x * this.zoom) * 100}%`);
    style.setProperty("--y", `${(0.5 - this.y * this.zoom) * 100}%`);
    const scale = this.zoom / this.oneToOne();
    this.element.classList.toggle("crisp", scale >= 1.5);
    find(".zoom output").textContent = `${Math.round(100 * scale)} %`;
  }

  // Zoom around a point, given in shares of its pane.
  zoomTo(zoom, atX = 0.5, atY = 0.5) {
    const next = clamp(zoom, Math.min(1, this.oneToOne()), MAX_ZOOM);
    this.x += (atX - 0.5) * (1 / this.zoom - 1 / next);
    this.y += (atY - 0.5) * (1 / this.zoom - 1 / next);
    this.zoom = next;
    this.move();
  }

  act(name) {
    this.zoomTo({ in: this.zoom * 1.5, out: this.zoom / 1.5, fit: 1, one: this.oneToOne() }[name]);
  }

  listen(pane) {
    const share = (event) => {
      const box = pane.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-clamp(event.deltaY, -150, 150) / 250), ...share(event));
    }, { passive: false });
    pane.addEventListener("dblclick", (event) => this.zoomTo(this.zoom * (event.shiftKey ? 0.5 : 2), ...share(event)));
    pane.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, share(event));
      pane.setPointerCapture(event.pointerId);
    });
    pane.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = share(event);
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) { // pinch: the zoom follows the distance of the fingers
        const distance = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
        this.zoomTo((this.zoom * distance(now)) / Math.max(distance(before), 1e-3), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else {
        this.x += (before[0] - now[0]) / this.zoom;
        this.y += (before[1] - now[1]) / this.zoom;
        this.move();
      }
      this.pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) pane.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
  }
}

// -- the trials of a rater --

class Rating {
  constructor(storage, trials, answers) {
    this.storage = storage;
    this.trials = trials;
    this.choices = Array(trials.length).fill(null);
    for (const answer of answers) this.choices[answer.trial] = answer.choice;
    this.viewer = new Viewer(find(".pictures"));
    this.busy = false;
    for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => this.choose(button.dataset.choice));
    for (const button of [find("#undo"), find("#back")]) button.addEventListener("click", () => this.undo());
    document.addEventListener("keydown", (event) => this.press(event));
    this.next();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return; // a key that is held down answers once
    const act = {
      ArrowLeft: () => this.choose("left"), ArrowRight: () => this.choose("right"), ArrowDown: () => this.choose("equal"),
      Backspace: () => this.undo(), "+": () => this.viewer.act("in"), "=": () => this.viewer.act("in"), "-": () => this.viewer.act("out"),
      0: () => this.viewer.act("fit"), 1: () => this.viewer.act("one"),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // Show the first trial without an answer, or the end.
  async next() {
    const open = this.choices.indexOf(null);
    this.at = open < 0 ? this.trials.length : open;
    const done = this.choices.filter(Boolean).length;
    find("#progress").value = done / this.trials.length;
    find("#count").textContent = `${Math.min(this.at + 1, this.trials.length)} of ${this.trials.length}`;
    find("#rating").hidden = open < 0;
    find("#end").hidden = open >= 0;
    find("#finished").textContent = this.storage.finished();
    this.enable(false);
    if (open >= 0) {
      try {
        await this.viewer.show(this.sources(this.at));
      } catch {
        say("The pictures cannot be loaded. They are loaded again.");
        setTimeout(() => this.next(), RETRY);
        return;
      }
      say("");
      this.since = performance.now();
      if (this.at + 1 < this.trials.length) for (const source of this.sources(this.at + 1)) new Image().src = source; // in advance
    }
    this.enable(true);
  }

  sources(trial) {
    return this.trials[trial].map((name) => this.storage.source(name));
  }

  enable(ready) {
    this.busy = !ready;
    for (const button of document.querySelectorAll("[data-choice]")) button.disabled = !ready;
    for (const button of [find("#undo"), find("#back")]) button.disabled = !ready || this.at === 0;
  }

  async choose(choice) {
    if (this.busy || this.at === this.trials.length) return;
    await this.keep(this.at, choice, Math.round(performance.now() - this.since) / 1000);
  }

  async undo() {
    if (this.busy || this.at === 0) return;
    await this.keep(this.at - 1, null, 0);
  }

  // Store an answer, then show the next trial. Until it is stored, no other one can be given.
  async keep(trial, choice, seconds) {
    this.enable(false);
    try {
      await this.storage.store({ trial, choice, seconds });
    } catch (error) {
      say(`The answer is not stored: ${error.message}`);
      this.enable(true);
      return;
    }
    this.choices[trial] = choice;
    await this.next();
  }
}

function fillCode() {
  find("#code").value = location.hash.slice(1);
}

fillCode();
addEventListener("hashchange", fillCode);
find("#entry").addEventListener("submit", async (event) => {
  event.preventDefault();
  const storage = data.raters ? new OneFile() : new Server();
  const button = find("#entry button");
  button.disabled = true;
  try {
    const { trials, answers } = await storage.enter(find("#code").value);
    find("#entry").hidden = true;
    find("#rating").hidden = false; // it has a size before the first pictures are shown
    new Rating(storage, trials, answers);
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
});
