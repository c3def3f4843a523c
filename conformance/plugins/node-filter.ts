/** What is in a node's packet filter, for the suites that look for what is left there or take something out. */
import { readdir } from "node:fs/promises";
import type { JsonObject } from "../../testbed/harness.ts";
import { type Node, recordsOf } from "./portmap-lab.ts";

/** What attachments have left on a node: lines of the packet filter that name a pod or a container, ports, and records. */
export async function remains(node: Node): Promise<string[]> {
  const pods =
    /10\.8[89]\.0\.\d|fd8[89]::|pwt-|CNI-DN-|CNI-SN-|CNI-[0-9a-f]{24}|(?<![0-9a-fx])8(0[89]|1\d)\d(?![0-9a-f])/;
  const lines = (await node.ruleset()).split("\n").filter((line) => pods.test(line));
  const records = await recordsOf(node.host);
  /* That a link lets 127.0.0.1 out is known as long as it does, which is as long as the bridge is there. */
  const files =
    records === null ? [] : (await readdir(records).catch(() => [])).filter((name) => !name.endsWith(".localnet"));
  const ports = (await portsLeft(node)).map((port) => `port ${port}`);
  return [...lines.map((line) => line.trim()), ...ports, ...files.map((name) => `record ${name}`)];
}

/** The published ports, from 8080 to 8199, that the packet filter still knows of. */
export async function portsLeft(node: Node): Promise<number[]> {
  const found = (await node.ruleset()).matchAll(/(?<=^|[\s:,{])8(?:0[89]|1\d)\d(?=[\s:,}]|$)/gm);
  return [...new Set([...found].map((match) => Number(match[0])))].sort((a, b) => a - b);
}

/** Deletes the first rule of iptables' table "nat" that has all of these parts, as a careless administrator would. */
export async function deleteNatRule(node: Node, ...parts: string[]): Promise<void> {
  const rules = (await node.host.exec("iptables", ["-t", "nat", "-S"])).split("\n");
  const rule = rules.find((line) => line.startsWith("-A ") && parts.every((part) => `${line} `.includes(part)));
  if (rule === undefined) throw new Error(`no rule with ${parts.join(", ")} in:\n${rules.join("\n")}`);
  await node.host.exec("iptables", ["-w", "-t", "nat", ...wordsOf(rule.replace("-A", "-D"))]);
}

/** The arguments in a line of `iptables -S`: those with spaces are in double quotes, quotes in them behind backslashes. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:\\.|[^"\\])*)"|[^\s"]+/g)].map(([whole, quoted]) =>
    quoted === undefined ? whole : quoted.replace(/\\(.)/g, "$1"),
  );
}

/** The number of rules in the node's packet filter, however they are made. */
export async function ruleCount(node: Node): Promise<number> {
  const { nftables } = JSON.parse(await node.nft("-j", "list", "ruleset")) as { nftables: JsonObject[] };
  return nftables.filter((entry) => "rule" in entry).length;
}
