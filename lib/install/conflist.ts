/** Renders a node's network configuration list from a template, the same for all nodes, and the node's subnets. Pure. */

import { isValidName } from "../cni/environment.ts";
import { formatJson, type Json, JsonError, jsonArray, jsonObject, jsonString, parseJson } from "../cni/json.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { formatPrefix, networkOf, overlap, type Prefix, parsePrefix, sameAddress } from "../ip/address.ts";
import { itemAt, textAt } from "../lists.ts";
import { clip } from "../text.ts";

/** The member that marks a list as written by a program of Podwire's. Runtimes ignore members that they do not know. */
export const MARKER = "writtenBy";
const WRITER = "podwire-install";
export const AGENT = "podwire-agent";

/** Placeholder for host-local's `ranges`: one set for each address family. */
const RANGES = "$RANGES";
/** Placeholder for a list of the subnets. */
const SUBNETS = "$SUBNETS";

/**
 * Parses subnets: "10.244.1.0/24,fd00:10:244:1::/64".
 * @throws CniError 7
 */
export function parseSubnets(text: string): Prefix[] {
  const subnets: Prefix[] = [];
  for (const part of text.split(",")) {
    const subnet = parsePrefix(part.trim());
    if (subnet === null || !sameAddress(networkOf(subnet), subnet.address)) {
      throw invalid(
        `"${clip(part)}" is no subnet`,
        "expected an address with no host bits and a length: 10.244.1.0/24",
      );
    }
    for (const other of subnets) {
      if (overlap(other, subnet)) throw invalid(`${formatPrefix(other)} and ${formatPrefix(subnet)} overlap`, "");
    }
    subnets.push(subnet);
  }
  return subnets;
}

/**
 * Finds a node's subnets in a table. A line has a node's name, white space, and subnets separated by commas; "#" begins a
 * comment.
 * @throws CniError 7 if the node has no line, or more than one
 */
export function subnetsOfNode(table: string, node: string): Prefix[] {
  let found = "";
  for (const line of table.split("\n")) {
    const hash = line.indexOf("#");
    const entry = hash < 0 ? line : line.slice(0, hash);
    const words = entry.split("\t").join(" ").split(" ").filter(isNotEmpty);
    if (textAt(words, 0) !== node) continue;
    if (words.length !== 2 || found !== "") {
      throw invalid(
        `the table of nodes is wrong about ${clip(node)}`,
        `expected one line "NODE SUBNET,...", found "${clip(line)}"`,
      );
    }
    found = textAt(words, 1);
  }
  if (found === "")
    throw invalid(`the table of nodes has no node "${clip(node)}"`, "a line is missing: NODE SUBNET,...");
  return parseSubnets(found);
}

function isNotEmpty(word: string): boolean {
  return word !== "";
}

/**
 * Fills in a template and returns the text of the list.
 * @param template JSON with the placeholders "$RANGES" and "$SUBNETS"
 * @param subnets empty if the template has no placeholders
 * @throws CniError 7 if the template is no network configuration list, or has placeholders without subnets, or the reverse
 */
export function renderConflist(template: Uint8Array, subnets: readonly Prefix[], release: string): string {
  let list: Json;
  try {
    list = parseJson(template);
  } catch (error) {
    if (error instanceof JsonError) throw invalid("the template is no JSON", error.message);
    throw error;
  }
  checkList(list);
  const filled = fill(list, subnets);
  if (filled.count === 0 && subnets.length > 0) {
    throw invalid(
      "the template does not use the node's subnets",
      `expected "${RANGES}" or "${SUBNETS}" somewhere in it`,
    );
  }
  if (filled.count > 0 && subnets.length === 0) {
    throw invalid("the template asks for the node's subnets", "give them with --ranges, or with --nodes and --node");
  }
  const marked = jsonObject();
  let at = 0;
  for (const item of filled.json.items) {
    const key = textAt(filled.json.keys, at);
    if (key !== MARKER) marked.with(key, item);
    at += 1;
  }
  marked.with(MARKER, jsonString(`${WRITER} ${release}; changes by hand will be lost`));
  return `${formatJson(marked)}\n`;
}

/** Whether a file's content is a list that any version of podwire-install, or of the node agent, has written. */
export function isRendered(content: string): boolean {
  try {
    const list = parseJson(new TextEncoder().encode(content));
    const mark = list.kind === "object" ? list.get(MARKER) : null;
    if (mark === null || mark.kind !== "string") return false;
    return mark.text.startsWith(`${WRITER} `) || mark.text.startsWith(`${AGENT} `);
  } catch (error) {
    if (error instanceof JsonError) return false;
    throw error;
  }
}

function checkList(list: Json): void {
  const name = list.kind === "object" ? list.get("name") : null;
  if (name === null || name.kind !== "string" || !isValidName(name.text)) {
    throw invalid("the template is no network configuration list", 'expected an object with a valid "name"');
  }
  const plugins = list.get("plugins");
  const first = plugins !== null && plugins.kind === "array" ? itemAt(plugins.items, 0) : null;
  if (plugins === null || first === null) {
    throw invalid("the template is no network configuration list", 'expected a list "plugins" that is not empty');
  }
  for (const plugin of plugins.items) {
    const type = plugin.kind === "object" ? plugin.get("type") : null;
    if (type === null || type.kind !== "string" || type.text === "") {
      throw invalid("the template is no network configuration list", 'each of its plugins needs a "type"');
    }
  }
}

interface Filled {
  readonly json: Json;
  /** The number of placeholders. */
  readonly count: number;
}

function fill(value: Json, subnets: readonly Prefix[]): Filled {
  if (value.kind === "string") {
    if (value.text === RANGES) return { json: rangeSets(subnets), count: 1 };
    if (value.text === SUBNETS) return { json: jsonArray(subnets.map(subnetJson)), count: 1 };
    return { json: value, count: 0 };
  }
  if (value.kind !== "array" && value.kind !== "object") return { json: value, count: 0 };
  const out = value.kind === "array" ? jsonArray([]) : jsonObject();
  let count = 0;
  for (const item of value.items) {
    const filled = fill(item, subnets);
    if (value.kind === "object") out.keys.push(textAt(value.keys, out.items.length));
    out.items.push(filled.json);
    count += filled.count;
  }
  return { json: out, count };
}

function subnetJson(subnet: Prefix): Json {
  return jsonString(formatPrefix(subnet));
}

/** A pod gets one address from each set, so each address family is a set. */
function rangeSets(subnets: readonly Prefix[]): Json {
  const sets = jsonArray([]);
  for (const family of [4, 6]) {
    const set = jsonArray([]);
    for (const subnet of subnets) {
      if (subnet.address.family === family) set.items.push(jsonObject().with("subnet", subnetJson(subnet)));
    }
    if (set.items.length > 0) sets.items.push(set);
  }
  return sets;
}

function invalid(message: string, details: string): CniError {
  return new CniError(INVALID_CONFIG, message, details);
}
