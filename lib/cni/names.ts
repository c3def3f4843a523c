/** Finds the plugin that a file name selects. Projects ship plugins under their own names: `buildkit-cni-bridge`, `cnv-bridge`. */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { itemAt } from "../lists.ts";
import { clip } from "../text.ts";
import type { Plugin } from "./plugin.ts";

/**
 * The plugins that a file name selects: the one of exactly that name, or all whose names are words of it. No letter or digit
 * is next to a word, as in `cnv-bridge`, `host-local.old` and `my_vxlan-overlay-v2`.
 */
export function pluginsNamed(plugins: readonly Plugin[], fileName: string): Plugin[] {
  const found: Plugin[] = [];
  for (const plugin of plugins) {
    if (plugin.name === fileName) return [plugin];
    if (holdsName(fileName, plugin.name)) found.push(plugin);
  }
  return found;
}

/**
 * The plugin of this process. It was started under a name that may be a symbolic link to a file of another name: the name is
 * used first, then the file's.
 * @param started the name under which it was started
 * @param fileName returns the name of its file; "" if that is not known
 * @throws CniError 4 if no plugin is selected, or several
 */
export function chosenPlugin(plugins: readonly Plugin[], started: string, fileName: () => string): Plugin {
  const byName = pluginsNamed(plugins, started);
  const exact = itemAt(byName, 0);
  if (exact !== null && exact.name === started) return exact;
  const file = fileName();
  const found = [...byName];
  for (const plugin of pluginsNamed(plugins, file)) if (!found.includes(plugin)) found.push(plugin);
  const plugin = itemAt(found, 0);
  if (plugin !== null && found.length === 1) return plugin;
  const which =
    started === file || file === "" ? `"${clip(started)}"` : `"${clip(started)}", a link to "${clip(file)}"`;
  const names = (list: readonly Plugin[]): string => list.map((item) => item.name).join(", ");
  throw new CniError(
    INVALID_ENVIRONMENT,
    found.length === 0
      ? `started as ${which}, which names no plugin of Podwire`
      : `started as ${which}, which names several plugins of Podwire: ${names(found)}`,
    `the executable's name selects the plugin; use one of these, or a name with one of them in it, as "cnv-bridge": ${names(plugins)}`,
  );
}

function holdsName(fileName: string, name: string): boolean {
  for (let at = fileName.indexOf(name); at >= 0; at = fileName.indexOf(name, at + 1)) {
    const end = at + name.length;
    if ((at === 0 || !isWordAt(fileName, at - 1)) && (end === fileName.length || !isWordAt(fileName, end))) return true;
  }
  return false;
}

/** Whether a letter or digit is at an index. Every character beyond ASCII counts as a letter. */
function isWordAt(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  const lower = unit | 0x20;
  return (unit >= 0x30 && unit <= 0x39) || (lower >= 0x61 && lower <= 0x7a) || unit >= 0x80;
}
