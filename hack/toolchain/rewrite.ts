/**
 * Rewrites the LLVM code that scriptc writes: shrink.ts makes it smaller and faster, layout.ts says what lies together.
 *
 * Usage: node rewrite.ts IN.ll OUT.ll
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LIST, withLayout } from "./layout.ts";
import { shrink } from "./shrink.ts";

const [input, output] = process.argv.slice(2);
if (input === undefined || output === undefined) throw new Error("usage: node rewrite.ts IN.ll OUT.ll");
const list = readFileSync(join(import.meta.dirname, LIST), "utf8");
writeFileSync(output, withLayout(shrink(readFileSync(input, "utf8")), list));
