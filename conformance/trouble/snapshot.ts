/** What is on a node of the packet filter's laboratory, and in pods of it, as lines that can be compared. */

import type { Netns } from "../../testbed/harness.ts";
import { numbered, snapshot } from "../faults/snapshot.ts";
import { type Node, recordsOf } from "../plugins/portmap-lab.ts";

/** @param pods namespaces, by what the lines are to call them */
export async function nodeSnapshot(node: Node, pods: Readonly<Record<string, Netns>>): Promise<string[]> {
  const records = (await recordsOf(node.host)) ?? "/nonexistent";
  const files = { "records/": `${records}/`, "data/": `${node.sandbox.dataDir}/` };
  const lines = await snapshot({ node: node.host, pods, files, overlay: false });
  return numbered(lines);
}
