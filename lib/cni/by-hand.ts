/** Calls without CNI_COMMAND: by people, by timers (`repair`), and by programs that ask for the version. */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { print, warn } from "../host/io.ts";
import { textAt } from "../lists.ts";
import { clip } from "../text.ts";
import { explain } from "./explain.ts";
import type { Plugin } from "./plugin.ts";

/**
 * Serves a call without CNI_COMMAND.
 * @param plugins all plugins of this executable
 * @param list the arguments
 * @throws CniError 4 if the plugin has no `repair`, and what `repair` throws
 */
export function runByHand(plugins: readonly Plugin[], plugin: Plugin, release: string, list: readonly string[]): void {
  const word = textAt(list, 0);
  if (word === "repair") repair(plugin);
  else if (word === "explain") print(`${explain(plugins, plugin, textAt(list, 1)).join("\n")}\n`);
  else if (["help", "--help", "-h"].includes(word)) print(`${aboutText(plugin, release)}\n${usage(plugin)}`);
  else {
    warn(aboutText(plugin, release));
    if (!["", "version", "--version", "-v", "-V"].includes(word)) {
      warn(`${plugin.name}: unknown argument "${clip(word)}" is ignored\n`);
    }
  }
}

/**
 * Programs parse this text for the version: the first word that is a version (Nomad); the last or the fourth word of the
 * first line, or what follows " v" there; the first three numbers with dots. So the first line must be exactly the
 * reference's, with a version number that is valid for the reference, and nothing may precede it.
 */
function aboutText({ name, versions }: Plugin, release: string): string {
  return `CNI ${name} plugin v${release}\nCNI protocol versions supported: ${versions.join(", ")}\nPodwire; "${name} --help" prints more\n`;
}

function usage({ name, repair }: Plugin): string {
  const repairing = repair === null ? "" : `  ${name} repair     restore what other programs have removed\n`;
  return `${name} is one of Podwire's CNI plugins. A container runtime starts it, with CNI_COMMAND and other variables in the
environment and a network configuration on standard input. Arguments are then ignored. Without CNI_COMMAND:

  ${name} explain [ADD|DEL|GC] < FILE
                     print what the call would do with the configuration in FILE, as commands; nothing is changed.
                     CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME say for which container; FILE may be a list of plugins
${repairing}  ${name} --version  print the version
  ${name} --help     print this
`;
}

function repair({ name, repair }: Plugin): void {
  if (repair === null) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      `${name} has nothing to repair`,
      `${name} has no state that others could flush; "${name} --help" lists the commands`,
    );
  }
  if (repair()) print(`${name}: something was missing; it was restored\n`);
}
