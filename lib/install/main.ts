/** `podwire-install`: the executable installs itself in a node's plugin directory, from a container or by hand. */
import type { Plugin } from "../cni/plugin.ts";
import { asCniError } from "../cni/run.ts";
import type { CniError } from "../errors.ts";
import { print, warn } from "../host/io.ts";
import type { Prefix } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import * as sys from "../sys/sys.ts";
import { decodeUtf8 } from "../text.ts";
import { parseSubnets, renderConflist, subnetsOfNode } from "./conflist.ts";
import {
  installExecutable,
  openNodeDirectory,
  readInput,
  removeConflist,
  removeExecutables,
  writeConflist,
} from "./files.ts";
import { type Options, readOptions, USAGE } from "./options.ts";

/** The name under which the executable is the installer. */
const NAME = "podwire-install";

/** Whether the process was started as podwire-install. */
export function isInstaller(): boolean {
  const path = textAt(process.argv, 1);
  return path.slice(path.lastIndexOf("/") + 1) === NAME;
}

/**
 * Installs or uninstalls as the arguments say; returns the exit status.
 * @param plugins all plugins of this executable
 * @param release the version of Podwire
 */
export function runInstaller(plugins: readonly Plugin[], release: string): number {
  sys.catchSignals();
  /* The first process of a container gets only signals that it handles. An installation is not interrupted half-way. */
  sys.holdSignals();
  try {
    const options = readOptions(process.argv.slice(2), environmentVariable);
    if (options.help) {
      print(USAGE);
      return 0;
    }
    const names = plugins.map((plugin) => plugin.name);
    if (options.uninstall) uninstall(options, names);
    else install(options, names, release);
    if (options.wait) sys.waitSignal();
    return 0;
  } catch (error) {
    report(asCniError(error instanceof Error ? error : new Error(String(error))));
    return 1;
  }
}

/** The plugins come first: the runtime calls them as soon as the list exists. */
function install(options: Options, names: readonly string[], release: string): void {
  const list = options.template === "" ? "" : renderConflist(readInput(options.template), subnetsFor(options), release);
  const bin = openNodeDirectory(options.binDir);
  installExecutable(bin, names);
  sys.close(bin);
  print(`${NAME}: Podwire ${release} is in ${options.binDir}: ${names.join(", ")}\n`);
  if (list === "") return;
  const conf = openNodeDirectory(options.confDir);
  writeConflist(conf, options.confName, list);
  sys.close(conf);
  print(`${NAME}: wrote ${options.confDir}/${options.confName}\n`);
}

/** The list goes first, so that the runtime does not call plugins that were removed. */
function uninstall(options: Options, names: readonly string[]): void {
  if (options.confDir !== "") {
    const conf = openNodeDirectory(options.confDir);
    const path = `${options.confDir}/${options.confName}`;
    const removed = removeConflist(conf, options.confName);
    sys.close(conf);
    print(`${NAME}: ${removed ? `removed ${path}` : `there is no ${path} of ${NAME}'s`}\n`);
  }
  const bin = openNodeDirectory(options.binDir);
  const removed = removeExecutables(bin, names);
  sys.close(bin);
  print(`${NAME}: removed from ${options.binDir}: ${removed.length === 0 ? "nothing" : removed.join(", ")}\n`);
}

function subnetsFor(options: Options): Prefix[] {
  if (options.ranges !== "") return parseSubnets(options.ranges);
  if (options.nodes !== "") return subnetsOfNode(decodeUtf8(readInput(options.nodes)), options.node);
  return [];
}

function environmentVariable(name: string): string {
  return sys.getenv(name) ?? "";
}

function report(error: CniError): void {
  warn(`${NAME}: ${error.message}${error.details === "" ? "" : `\n  ${error.details}`}\n`);
}
