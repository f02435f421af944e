// A page that upscales pictures one after the other. `start(backend)` takes an object with
//   run(file, settings, onProgress, signal): a promise of { blob, name, width, height, warnings }, whose error has a message for people
//   refuses(file): why a file is not taken, or an empty text
const data = JSON.parse(document.getElementById("data").textContent);
const ENDED = ["done", "failed", "cancelled"];

function say(text) {
  find("#message").textContent = text;
  clearTimeout(say.timer);
  if (text) say.timer = setTimeout(() => say(""), 8000);
}

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function bytesText(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

const isClip = (type) => type.startsWith("video/");

// -- before and after in one pane --

class Comparison {
  constructor(element) {
    this.pane = element.querySelector(".pane");
    this.viewer = new Viewer(element, find(".zoom output"));
    this.split = find("#split");
    this.split.addEventListener("input", () => this.place(this.split.value));
    const handle = find(".handle");
    for (const kind of ["pointerdown", "pointermove", "pointerup", "dblclick"]) handle.addEventListener(kind, (event) => this.hold(event, handle));
    find("#play").addEventListener("click", () => this.play());
    find("#time").addEventListener("input", (event) => this.seek(event.target.value));
    this.place(50);
  }

  // The line follows the pointer that holds it. The picture below stays where it is.
  hold(event, handle) {
    event.stopPropagation();
    if (event.type === "pointerdown") handle.setPointerCapture(event.pointerId);
    if (event.type !== "pointermove" || !handle.hasPointerCapture(event.pointerId)) return;
    const box = this.pane.getBoundingClientRect();
    this.split.value = clamp(((event.clientX - box.left) / box.width) * 100, 0, 100);
    this.place(this.split.value);
  }

  place(percent) {
    this.pane.style.setProperty("--split", `${percent}%`);
  }

  // Show an original, and its result if there is one. A result that arrives for the shown original keeps a zoom that was chosen.
  async show(before, after) {
    const same = before === this.before;
    const chosen = same && this.viewer.zoom !== this.first;
    this.before = before;
    find(".note").textContent = "";
    if (!same) this.fill(".before", before);
    this.fill(".after", after);
    const compared = Boolean(after);
    this.pane.classList.toggle("compared", compared);
    for (const selector of [".handle", ".left", ".right"]) find(selector).hidden = !compared;
    this.split.disabled = !compared;
    await this.sized();
    if (chosen) this.viewer.move();
    else this.viewer.reset();
    this.first = this.viewer.zoom;
    find(".clip").hidden = !this.clips.length;
  }

  get clips() {
    return this.viewer.media.filter((one) => one.tagName === "VIDEO");
  }

  fill(selector, source) {
    const layer = find(selector);
    if (!source) return layer.replaceChildren();
    const clip = isClip(source.type);
    const medium = made(clip ? "video" : "img", clip ? { muted: true, loop: true, playsInline: true, preload: "auto" } : { draggable: false, alt: selector.slice(1) });
    if (clip && selector === ".after") medium.addEventListener("timeupdate", () => this.follow());
    medium.addEventListener("error", () => {
      medium.remove();
      find(".note").textContent = `This browser cannot show ${source.name}. ${selector === ".after" ? "The result can be downloaded." : ""}`;
    });
    medium.src = source.url;
    layer.replaceChildren(medium);
  }

  // Wait until each picture has a size, or cannot be shown.
  sized() {
    return Promise.all(this.viewer.media.map((one) => new Promise((resolve) => {
      if (one.naturalWidth || one.videoWidth) return resolve();
      for (const event of ["load", "loadedmetadata", "error"]) one.addEventListener(event, resolve, { once: true });
    })));
  }

  play() {
    const paused = this.clips.some((clip) => clip.paused);
    for (const clip of this.clips) paused ? clip.play() : clip.pause();
    find("#play").textContent = paused ? "Pause" : "Play";
  }

  seek(share) {
    for (const clip of this.clips) if (clip.duration) clip.currentTime = share * clip.duration;
  }

  // The original follows the result.
  follow() {
    const [after, before] = this.clips;
    if (after?.duration) find("#time").value = after.currentTime / after.duration;
    if (before && Math.abs(before.currentTime - after.currentTime) > 0.08) before.currentTime = after.currentTime;
  }
}

// -- a file of the queue --

class Item {
  constructor(file, settings, page) {
    this.file = file;
    this.settings = settings;
    this.page = page;
    this.source = { url: URL.createObjectURL(file), type: file.type, name: file.name };
    this.element = made("li");
    this.set("waiting", "waits");
  }

  // Change state and text, and draw both.
  set(state, text, share = null) {
    this.state = state;
    const name = made("button", { type: "button", className: "name", title: this.file.name, textContent: this.file.name });
    name.addEventListener("click", () => this.page.show(this));
    const acts = made("span", { className: "acts" });
    if (this.result) acts.append(made("a", { className: "button", textContent: "Save", href: this.result.url, download: this.result.name }));
    if (ENDED.includes(state)) acts.append(this.button("Again", `Again with the settings above: ${this.file.name}`, () => this.page.add([this.file])));
    const ended = ENDED.includes(state);
    acts.append(this.button("✕", `${ended ? "Remove" : "Cancel"} ${this.file.name}`, () => (ended ? this.page.remove(this) : this.cancel())));
    this.line = made("p", { className: "state", textContent: text });
    this.bar = state === "running" ? made("progress", { ariaLabel: `Progress of ${this.file.name}` }) : null;
    this.element.className = [state, this.page.shown === this ? "shown" : ""].join(" ");
    this.element.replaceChildren(name, acts, this.line, ...(this.bar ? [this.bar] : []));
    if (share !== null) this.progress(text, share);
  }

  button(textContent, ariaLabel, act) {
    const button = made("button", { type: "button", textContent, ariaLabel, title: ariaLabel });
    button.addEventListener("click", act);
    return button;
  }

  progress(text, share) {
    this.line.textContent = text;
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
  }

  async run(backend) {
    this.control = new AbortController();
    this.set("running", "starts");
    const began = performance.now();
    try {
      const found = await backend.run(this.file, this.settings, (text, share) => this.state === "running" && this.progress(text, share), this.control.signal);
      this.result = { ...found, url: URL.createObjectURL(found.blob), type: found.blob.type, seconds: (performance.now() - began) / 1000 };
      this.set("done", this.facts());
    } catch (error) {
      if (this.control.signal.aborted) this.set("cancelled", "cancelled");
      else this.set("failed", error.message);
    }
  }

  facts() {
    const { width, height, blob, seconds, warnings } = this.result;
    const model = this.settings.model ? `${this.settings.model}, ` : "";
    return [`${model}${width} by ${height} pixels, ${bytesText(blob.size)}, ${seconds.toFixed(1)} s`, ...warnings].join(". ");
  }

  cancel() {
    if (this.state === "waiting") this.set("cancelled", "cancelled");
    else this.control.abort();
  }

  forget() {
    URL.revokeObjectURL(this.source.url);
    if (this.result) URL.revokeObjectURL(this.result.url);
  }
}

// -- the page --

class UpscalePage {
  constructor(backend) {
    this.backend = backend;
    this.items = [];
    this.shown = null;
    this.busy = false;
    this.comparison = new Comparison(find(".pictures"));
    for (const [value, textContent] of data.formats) find("#format").append(made("option", { value, textContent }));
    this.listen();
    this.arrange();
  }

  listen() {
    const input = find("#files");
    find("#choose").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = ""; // the same file may be chosen again
    });
    document.addEventListener("paste", (event) => event.clipboardData.files.length && this.add(event.clipboardData.files));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      this.add(event.dataTransfer.files);
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select") || !(event.key in ZOOM_KEYS)) return;
      this.comparison.viewer.act(ZOOM_KEYS[event.key]);
    });
    addEventListener("pagehide", () => this.items.forEach((item) => item.control?.abort()));
  }

  add(files) {
    const settings = { ...this.backend.settings(), format: find("#format").value };
    const refused = [];
    for (const file of files) {
      const reason = this.backend.refuses(file);
      if (reason) {
        refused.push(`${file.name}: ${reason}`);
        continue;
      }
      const item = new Item(file, settings, this);
      this.items.push(item);
      find("#list").append(item.element);
      if (!this.shown) this.show(item);
    }
    say(refused.join("\n"));
    this.arrange();
    this.work();
  }

  // Work on one file after the other: two at once take as long and more memory.
  async work() {
    if (this.busy) return;
    this.busy = true;
    for (let item; (item = this.items.find((one) => one.state === "waiting")); ) {
      await item.run(this.backend);
      if (this.items.includes(item) && (this.shown === item || !this.shown?.result)) this.show(item);
    }
    this.busy = false;
  }

  show(item) {
    this.shown = item;
    for (const one of this.items) one.element.classList.toggle("shown", one === item);
    find("#facts").textContent = item.result ? `${item.file.name}: ${item.facts()}` : item.file.name;
    this.arrange();
    this.comparison.show(item.source, item.result);
  }

  remove(item) {
    item.forget();
    item.element.remove();
    this.items = this.items.filter((one) => one !== item);
    if (this.shown === item) {
      this.shown = null;
      if (this.items.length) this.show(this.items.at(-1));
    }
    this.arrange();
  }

  arrange() {
    find("#stage").hidden = !this.shown;
    find("#queue").classList.toggle("only", !this.shown);
  }
}
