/** The rooms as a picture: `node hack/architecture/picture.ts` writes docs/rooms.svg; rooms.test.ts holds it to the rooms. */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ROWS, type Room } from "./rooms.ts";

export const PICTURE = join(resolve(import.meta.dirname, "../.."), "docs/rooms.svg");

const WIDTH = 860;
const MARGIN = 20;
const GAP = 12;
const HEIGHT = 46;

/** The picture: the executable at the top, what everybody uses at the bottom. */
export function picture(): string {
  const rows = [...ROWS].reverse();
  const height = 2 * MARGIN + rows.length * HEIGHT + (rows.length - 1) * GAP;
  const boxes = rows.flatMap((rooms, row) => rooms.map((room, i) => box(room, i, rooms.length, row)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="The rooms: each uses only what stands below it">
<style>
  rect { fill: #eef3f8; stroke: #4a6a8a; }
  text { font: 13px sans-serif; fill: #1c2a38; text-anchor: middle; }
  .name { font-weight: bold; }
</style>
<rect x="0" y="0" width="${WIDTH}" height="${height}" style="fill: #ffffff; stroke: none"/>
${boxes.join("\n")}
</svg>
`;
}

function box({ path, holds }: Room, i: number, count: number, row: number): string {
  const width = (WIDTH - 2 * MARGIN - (count - 1) * GAP) / count;
  const x = MARGIN + i * (width + GAP);
  const y = MARGIN + row * (HEIGHT + GAP);
  const middle = (x + width / 2).toFixed(1);
  const name = holds === "" ? path.slice(path.lastIndexOf("/") + 1) : path;
  const line = holds === "" ? "" : `<text x="${middle}" y="${y + 37}">${holds}</text>`;
  return (
    `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${HEIGHT}" rx="4"/>` +
    `<text class="name" x="${middle}" y="${y + (holds === "" ? 28 : 20)}">${name}</text>${line}`
  );
}

if (process.argv[1] === import.meta.filename) await writeFile(PICTURE, picture());
