// Values under the pointer: every curve carries "place:value:step:tokens" per point in data-v.
for (const area of document.querySelectorAll(".area")) {
  const curves = [...area.querySelectorAll("polyline")].map((curve) => ({
    name: curve.dataset.name, colour: curve.classList[1],
    points: curve.dataset.v.split(" ").map((point) => point.split(":")),
  }));
  const tip = document.createElement("div"), hair = document.createElement("div");
  tip.className = "tip"; hair.className = "hair";
  area.append(hair, tip);
  const move = (event) => {
    const box = area.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
    const near = curves.map((curve) => curve.points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)));
    const first = near.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
    tip.textContent = "";
    const title = document.createElement("b");
    title.textContent = `step ${first[2]}, ${first[3]} tokens`;
    tip.append(title);
    near.forEach((point, i) => {
      const row = document.createElement("span");
      row.className = curves[i].colour;
      row.textContent = (curves.length > 1 ? curves[i].name + " " : "") + point[1].replaceAll("_", " ");
      tip.append(row);
    });
    hair.style.left = 100 * first[0] + "%";
    tip.style[first[0] > 0.5 ? "right" : "left"] = 100 * (first[0] > 0.5 ? 1 - first[0] : first[0]) + "%";
    tip.style[first[0] > 0.5 ? "left" : "right"] = "auto";
    area.classList.add("on");
  };
  area.addEventListener("pointermove", move);
  area.addEventListener("pointerdown", move);
  area.addEventListener("pointerleave", () => area.classList.remove("on"));
}
