"use strict";
document.documentElement.classList.add("scripted");

const WHITE_LEVEL = 64; // error in levels of 255 that is drawn white
const RAMP = [[0, 0, 0], [66, 10, 104], [187, 55, 84], [249, 142, 9], [252, 255, 210]];

// Return the error of a view against the original as an image: the mean over the colour channels.
async function errorMap(view, original) {
  await Promise.all([view.decode(), original.decode()]);
  const canvas = document.createElement("canvas");
  canvas.width = original.naturalWidth;
  canvas.height = original.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = [original, view].map((image) => {
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  });
  const [first, second] = pixels.map((image) => image.data);
  for (let i = 0; i < first.length; i += 4) {
    const error = (Math.abs(first[i] - second[i]) + Math.abs(first[i + 1] - second[i + 1]) + Math.abs(first[i + 2] - second[i + 2])) / 3;
    const at = clamp(error / WHITE_LEVEL, 0, 1) * (RAMP.length - 1);
    const step = Math.min(Math.floor(at), RAMP.length - 2);
    for (let colour = 0; colour < 3; colour++) {
      first[i + colour] = RAMP[step][colour] + (at - step) * (RAMP[step + 1][colour] - RAMP[step][colour]);
    }
  }
  context.putImageData(pixels[0], 0, 0);
  return canvas.toDataURL();
}

class Card extends Zoomable {
  constructor(element) {
    super(element, element.querySelector("output"));
    this.stage = element.querySelector(".stage");
    this.images = new Map([...element.querySelectorAll("[data-view]")].map((figure) => [figure.dataset.view, figure.querySelector("img")]));
    this.errors = new Map(); // view -> promise of its error map
    this.borders = { a: 33, b: 67 };
    this.fill();
    this.listen();
    this.moveBorder("a", 33);
    this.move();
  }

  // -- views of the parts --

  fill() {
    const names = [...this.images.keys()];
    const models = names.filter((name) => name !== "original");
    const main = this.element.querySelector(".error");
    const shown = models.includes(document.body.dataset.main) ? document.body.dataset.main : models[models.length - 1];
    const chosen = main ? { left: models[0], middle: shown, right: "original" } : { left: "input", middle: models[1], right: shown };
    for (const pick of this.element.querySelectorAll(".pick")) {
      pick.append(...names.map((name) => new Option(name)), ...(main ? models : []).map((name) => new Option(`error of ${name}`)));
      pick.value = chosen[pick.dataset.part];
      pick.addEventListener("change", () => this.show(pick.dataset.part, pick.value));
      this.show(pick.dataset.part, pick.value);
    }
    if (main) this.error(shown).then((source) => (main.querySelector("img").src = source));
  }

  error(name) {
    if (!this.errors.has(name)) this.errors.set(name, errorMap(this.images.get(name), this.images.get("original")));
    return this.errors.get(name);
  }

  async show(part, name) {
    this.stage.querySelector(`.tag.${part}`).textContent = name;
    const source = name.startsWith("error of ") ? await this.error(name.slice(9)) : this.images.get(name).src;
    this.stage.querySelector(`.part.${part} img`).src = source;
  }

  // -- borders between the parts --

  moveBorder(which, percent) {
    this.borders[which] = clamp(percent, 0, 100);
    const { a, b } = this.borders;
    if (a > b) this.borders[which === "a" ? "b" : "a"] = this.borders[which]; // one border pushes the other
    for (const name of ["a", "b"]) {
      this.stage.style.setProperty(`--${name}`, `${this.borders[name]}%`);
      this.stage.querySelector(`.handle.${name}`).setAttribute("aria-valuenow", Math.round(this.borders[name]));
    }
  }

  // -- zoom --

  oneToOne() {
    const image = this.images.values().next().value;
    return (image.naturalWidth || 1) / (this.stage.clientWidth || 1);
  }

  // -- events --

  listen() {
    for (const handle of this.stage.querySelectorAll(".handle")) {
      const which = handle.classList.contains("a") ? "a" : "b";
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        event.stopPropagation();
      });
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const box = this.stage.getBoundingClientRect();
        this.moveBorder(which, ((event.clientX - box.left) / box.width) * 100);
      });
      handle.addEventListener("keydown", (event) => {
        const now = this.borders[which];
        const to = { ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2, Home: 0, End: 100 }[event.key];
        if (to === undefined) return;
        this.moveBorder(which, to);
        event.preventDefault();
        event.stopPropagation();
      });
      handle.addEventListener("dblclick", (event) => event.stopPropagation());
    }
    for (const pane of this.panes) this.follow(pane, true); // without Ctrl the page scrolls
    this.stage.addEventListener("keydown", (event) => {
      const act = {
        ArrowLeft: () => this.pan(-0.1, 0), ArrowRight: () => this.pan(0.1, 0), ArrowUp: () => this.pan(0, -0.1), ArrowDown: () => this.pan(0, 0.1),
      }[event.key] ?? (event.key in ZOOM_KEYS && (() => this.act(ZOOM_KEYS[event.key])));
      const scrolls = event.key.startsWith("Arrow") && this.zoom === 1;
      if (!act || scrolls || event.ctrlKey || event.metaKey || event.altKey) return;
      act();
      event.preventDefault();
    });
    for (const button of this.element.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.act(button.dataset.zoom));
    }
    const image = this.images.values().next().value;
    if (!image.complete) image.addEventListener("load", () => this.move());
    new ResizeObserver(() => this.move()).observe(this.stage);
  }
}

// A card is created when it is near the viewport: decoding all images at once would block the page.
const made = new Map();
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting || made.has(entry.target)) continue;
    made.set(entry.target, new Card(entry.target));
    nearby.unobserve(entry.target);
  }
}, { rootMargin: "800px" });
const cards = [...document.querySelectorAll(".card")];
cards.forEach((card) => nearby.observe(card));

document.getElementById("order").addEventListener("change", (event) => {
  const quality = (card) => JSON.parse(card.dataset.quality)[event.target.value] ?? Infinity; // the lowest comes first
  const sorted = event.target.value === "name" ? cards : [...cards].sort((first, second) => quality(first) - quality(second));
  document.getElementById("cards").append(...sorted);
});

document.addEventListener("keydown", (event) => {
  if (!["j", "k"].includes(event.key) || event.ctrlKey || event.metaKey || event.target.matches("select, input")) return;
  const shown = [...document.querySelectorAll(".card")];
  const tops = shown.map((card) => card.getBoundingClientRect().top);
  const next = event.key === "j" ? tops.findIndex((top) => top > 20) : tops.findLastIndex((top) => top < -20);
  if (next < 0) return;
  shown[next].scrollIntoView();
  shown[next].querySelector(".stage").focus({ preventScroll: true });
});
