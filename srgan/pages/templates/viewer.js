"use strict";
const find = (selector) => document.querySelector(selector);

// The pictures or clips of a page. The first one that has a size determines 100 %.
class Viewer extends Zoomable {
  constructor(element, output) {
    super(element, output);
    this.reset();
    for (const pane of this.panes) this.follow(pane);
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => this.act(button.dataset.zoom));
    new ResizeObserver(() => this.move()).observe(element);
  }

  get media() {
    return [...this.element.querySelectorAll(".pane img, .pane video")];
  }

  // Small pictures begin with one pixel per pixel, which hides no difference. Large ones begin as a whole.
  reset() {
    this.x = this.y = 0.5;
    this.zoom = Math.min(1, this.oneToOne());
    this.move();
  }

  oneToOne() {
    const pane = this.panes[0];
    const sizes = this.media.map((one) => [one.naturalWidth || one.videoWidth, one.naturalHeight || one.videoHeight]);
    const [width, height] = sizes.find((size) => size[0]) ?? [0, 0];
    if (!width || !pane.clientWidth) return 1;
    return 1 / Math.min(pane.clientWidth / width, pane.clientHeight / height);
  }

  get leastZoom() {
    return Math.min(1, this.oneToOne());
  }
}
