/* Texts that stand out too little from what is behind them (WCAG 2.2, 1.4.3), as lines to read. */
(() => {
  const rgb = (text) => text.match(/^rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)$/)?.slice(1).map((part) => Number(part ?? 1));
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const drawn = (element) => element instanceof SVGElement;
  const behind = (x, y) => {
    for (const element of document.elementsFromPoint(x, y)) {
      const style = getComputedStyle(element);
      if (drawn(element) && element.tagName !== "rect") continue;
      const color = rgb(drawn(element) ? style.fill : style.backgroundColor);
      if (color && color[3] === 1) return color;
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  const found = [];
  let measured = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    if (!node.data.trim() || box.width < 2 || !document.elementsFromPoint(x, y).includes(parent)) continue;
    const style = getComputedStyle(parent);
    const ratio = contrast(light(rgb(drawn(parent) ? style.fill : style.color)), light(behind(x, y)));
    measured += 1;
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${parent.getAttribute("class") ?? parent.tagName}: ${node.data.trim()}`);
  }
  return { measured, found };
})()
