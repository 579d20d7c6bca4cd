// Opens a page in a real browser at a width, and prints as JSON what a reader would see, and what went wrong.
const { chromium } = require("playwright-core");

// Far beyond what a busy machine needs.
const PATIENCE_MS = 120_000;

// Runs in the page.
function look() {
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0;
  };
  // Text that leaves its drawing, or lies on another.
  const cut = [];
  for (const drawing of document.querySelectorAll("svg")) {
    const frame = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([text, box], place) => {
      const outside = box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
      const covered = texts.slice(place + 1).some(([, other]) =>
        box.left < other.right - 1 && other.left < box.right - 1 && box.top < other.bottom - 4 && other.top < box.bottom - 4);
      if (outside || covered) cut.push(text);
    });
  }
  const shapes = [...document.querySelectorAll("svg rect, svg circle, svg path")];
  return {
    title: document.title,
    text: document.body.innerText,
    headings: [...document.querySelectorAll("h1, h2")].filter(seen).map((heading) => heading.innerText),
    rows: [...document.querySelectorAll("tbody tr, table tr")].filter(seen).length,
    shapes: shapes.length,
    explained: shapes.filter((shape) => shape.querySelector("title")).length,
    cut,
    overflows: document.documentElement.scrollWidth > window.innerWidth,
  };
}

(async () => {
  const [url, width] = process.argv.slice(2);
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: quiet, timeout: PATIENCE_MS });
  const page = await browser.newPage({ viewport: { width: Number(width), height: 900 } });
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  const requests = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url);
  console.log(JSON.stringify({ ...(await page.evaluate(look)), errors, requests }));
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
