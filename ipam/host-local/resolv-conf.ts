/** The system's resolver configuration as a result's DNS (resolv.conf(5)). */

import type { Dns } from "../../lib/cni/result.ts";
import { textAt } from "../../lib/lists.ts";

/**
 * Reads what a resolv.conf says. Lines that begin with "#" or ";" are comments; a repeated `nameserver`, `search` or
 * `options` adds to the first, of several `domain` the last counts. Pure.
 */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain = "";
  for (const line of text.split("\n")) {
    const words = wordsOf(line);
    const key = textAt(words, 0);
    if (words.length < 2 || key.startsWith("#") || key.startsWith(";")) continue;
    if (key === "nameserver") nameservers.push(textAt(words, 1));
    else if (key === "domain") domain = textAt(words, 1);
    else if (key === "search") search.push(...words.slice(1));
    else if (key === "options") options.push(...words.slice(1));
  }
  return { nameservers, domain, search, options };
}

function wordsOf(line: string): string[] {
  return line
    .split("\t")
    .join(" ")
    .split("\r")
    .join(" ")
    .split(" ")
    .filter((word) => word !== "");
}
