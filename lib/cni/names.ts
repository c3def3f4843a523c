/** Which plugin a file's name means. Projects ship plugins under names of their own: `buildkit-cni-bridge`, `cnv-bridge`. */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { itemAt } from "../lists.ts";
import { clip } from "../text.ts";
import type { Plugin } from "./plugin.ts";

/**
 * The plugins that a file's name names: the one of exactly that name, or all whose names are parts of it. What stands before
 * and after a part is neither letter nor digit, as in `cnv-bridge`, `host-local.old` or `my_vxlan-overlay-v2`.
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
 * The plugin that a process is, from the name it was started by and its file's: they differ behind a symbolic link. The name
 * itself comes first, then what it is a link to.
 * @param started the name it was started by
 * @param fileName tells its file's; "" if that cannot be told
 * @throws CniError 4 if no plugin is named, or several
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
    `the executable's name picks the plugin; give it one of these, or a name with one of them in it, as "cnv-bridge": ${names(plugins)}`,
  );
}

function holdsName(fileName: string, name: string): boolean {
  for (let at = fileName.indexOf(name); at >= 0; at = fileName.indexOf(name, at + 1)) {
    const end = at + name.length;
    if ((at === 0 || !isWordAt(fileName, at - 1)) && (end === fileName.length || !isWordAt(fileName, end))) return true;
  }
  return false;
}

/** Whether a letter or digit stands there; every character beyond ASCII counts as a letter. */
function isWordAt(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  const lower = unit | 0x20;
  return (unit >= 0x30 && unit <= 0x39) || (lower >= 0x61 && lower <= 0x7a) || unit >= 0x80;
}
