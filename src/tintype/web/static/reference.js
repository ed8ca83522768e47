import { fill, h } from "./dom.js";
export const drawReference = (panel) => fill(panel, h("p", {}, "soon"));
