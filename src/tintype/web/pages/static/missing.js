/** What a browser is shown that follows a link to nothing. */
import { fill, h } from "./dom.js";
import { drawHeader, main } from "./header.js";

drawHeader();
fill(
  main,
  h(
    "div.lone",
    {},
    h("h1", {}, "Nothing is here"),
    h("p", {}, "No page of this server has the address ", h("code", {}, location.pathname.slice(0, 80)), "."),
    h("div.row", {}, h("a.tool.primary", { href: "/" }, "See the models")),
  ),
);
