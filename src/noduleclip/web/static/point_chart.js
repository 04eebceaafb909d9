// A chart of many points, with rings around the hits; a click finds the nearest point.

const NEAR_PX = 20, RING_PX = 6;
const MANY = 5000; // points, which are drawn smaller

export class PointChart {
  // `onPoint` is called with the row of a point that is clicked.
  constructor(canvas, onPoint) {
    this.canvas = canvas;
    this.rows = [];
    this.places = [];
    canvas.addEventListener("click", (event) => {
      const row = this.findNearest(event.offsetX, event.offsetY);
      if (row !== null) onPoint(row);
    });
  }

  // Draw points at places that `toPlace(i, width, height)` returns in pixels; `drawGround` draws what lies below them.
  draw(rows, toPlace, toColour, rings, drawGround = () => {}) {
    const { canvas } = this, width = canvas.clientWidth, height = canvas.clientHeight, pen = canvas.getContext("2d");
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    pen.scale(devicePixelRatio, devicePixelRatio);
    drawGround(pen, width, height);
    this.rows = rows;
    this.places = Array.from(rows, (_, i) => toPlace(i, width, height));
    const side = rows.length > MANY ? 3 : 5;
    this.places.forEach(([x, y], i) => { pen.fillStyle = toColour(i); pen.fillRect(x - side / 2, y - side / 2, side, side); });
    const placeOf = new Map(Array.from(rows, (row, i) => [row, this.places[i]]));
    pen.lineWidth = 1.5;
    rings.forEach(({ colour, rows: ringed }, number) => {
      pen.strokeStyle = colour;
      for (const place of ringed.map((row) => placeOf.get(row)).filter(Boolean)) {
        pen.beginPath();
        pen.arc(...place, RING_PX + 2 * number, 0, 2 * Math.PI);
        pen.stroke();
      }
    });
  }

  findNearest(atX, atY) {
    let nearest = null, least = NEAR_PX ** 2;
    this.places.forEach(([x, y], i) => {
      const distance = (x - atX) ** 2 + (y - atY) ** 2;
      if (distance < least) { least = distance; nearest = this.rows[i]; }
    });
    return nearest;
  }
}
