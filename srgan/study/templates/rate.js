const data = JSON.parse(document.getElementById("data").textContent);
const plainCode = (text) => text.toUpperCase().replace(/[^0-9A-Z]/g, "");
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (text) => new TextEncoder().encode(text);
const RETRY = 1000; // milliseconds until an answer is sent again

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

// -- the trials of a rater --

// Show two pictures. They appear together, when both are decoded.
async function showPictures(viewer, sources) {
  viewer.element.classList.add("loading");
  viewer.media.forEach((image, index) => (image.src = sources[index]));
  await Promise.all(viewer.media.map((image) => image.decode()));
  viewer.reset();
  viewer.element.classList.remove("loading");
}

class Rating {
  constructor(storage, trials, answers) {
    this.storage = storage;
    this.trials = trials;
    this.choices = Array(trials.length).fill(null);
    for (const answer of answers) this.choices[answer.trial] = answer.choice;
    this.viewer = new Viewer(find(".pictures"), find(".zoom output"));
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
      Backspace: () => this.undo(),
    }[event.key] ?? (event.key in ZOOM_KEYS && (() => this.viewer.act(ZOOM_KEYS[event.key])));
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
        await showPictures(this.viewer, this.sources(this.at));
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
