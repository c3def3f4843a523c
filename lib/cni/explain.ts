/** `<plugin> explain [ADD|DEL|GC]`: what a call with this configuration would do, as a script. For people. */
import { CniError, INVALID_CONFIG, INVALID_ENVIRONMENT } from "../errors.ts";
import { clip } from "../text.ts";
import { type NetworkConfig, readConfig } from "./config.ts";
import { FoundDelegates } from "./delegate.ts";
import { environmentVariable, readRequest } from "./environment.ts";
import { Fields } from "./fields.ts";
import { readInput, requireVersion } from "./input.ts";
import { formatJson, type Json, JsonError, parseJson } from "./json.ts";
import type { Plugin } from "./plugin.ts";

/** What stands for the variables of a call that are not set. */
const STAND_INS: readonly (readonly [string, string])[] = [
  ["CNI_CONTAINERID", "example"],
  ["CNI_NETNS", "/run/netns/example"],
  ["CNI_IFNAME", "eth0"],
  ["CNI_PATH", "/opt/cni/bin"],
];

/**
 * The lines of the script.
 * @param plugins all plugins of this executable, for what a plugin delegates
 * @param verb of the call; "" is ADD
 * @throws CniError 4 for a verb that cannot be explained, 7 for a list without the plugin, and what the plugin throws
 */
export function explain(plugins: readonly Plugin[], plugin: Plugin, verb: string): string[] {
  const command = verb === "" ? "ADD" : verb.toUpperCase();
  if (!["ADD", "DEL", "GC"].includes(command)) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      `${plugin.name} cannot explain ${clip(command)}`,
      "ADD, DEL and GC can be explained",
    );
  }
  const request = readRequest((name) => (name === "CNI_COMMAND" ? command : variable(name)));
  const config = readEntry(readInput(), plugin.name);
  requireVersion(config.cniVersion, plugin);
  const delegates = new FoundDelegates(plugins, plugin.name, request, config);
  /* A remark may quote what it was given: a line break would end it, and begin a command. */
  const remark = (line: string): string => line.split("\n").join(" ");
  return plugin.explain({ request, config, delegates }).map((line) => (line.startsWith("#") ? remark(line) : line));
}

function variable(name: string): string {
  const value = environmentVariable(name);
  if (value !== "") return value;
  for (const [known, standIn] of STAND_INS) if (known === name) return standIn;
  return "";
}

/** A plugin's configuration, or its entry in a list of plugins, with the list's name and version as a runtime adds them. */
function readEntry(bytes: Uint8Array, type: string): NetworkConfig {
  const entry = entryIn(bytes, type);
  return readConfig(entry === null ? bytes : new TextEncoder().encode(formatJson(entry)));
}

function entryIn(bytes: Uint8Array, type: string): Json | null {
  const list = listIn(bytes);
  if (list === null) return null;
  for (const entry of list.objects("plugins")) {
    /* An IPAM plugin gets the configuration of the one that delegates to it. */
    const ipam = entry.object("ipam");
    if (entry.string("type", "") !== type && ipam?.string("type", "") !== type) continue;
    const { json } = entry;
    for (const key of ["cniVersion", "name"]) {
      const value = list.find(key);
      if (value !== null) json.with(key, value);
    }
    return json;
  }
  throw new CniError(INVALID_CONFIG, `the list has no plugin of type ${type}`, 'looked in "plugins"');
}

/** A list of plugins; null for whatever else there is, which `readConfig` judges. */
function listIn(bytes: Uint8Array): Fields | null {
  try {
    const json = parseJson(bytes);
    const fields = new Fields(json, "");
    return json.kind === "object" && fields.has("plugins") && !fields.has("type") ? fields : null;
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}
