/**
 * Puts functions that run together beside each other. The kernel maps the text of an executable in windows of 64 kB, one page
 * fault each, so a call costs as many faults as there are windows in which it runs something. layout.txt, which `make layout`
 * writes, has the functions of the usual calls in groups; each group becomes a section of its own, since the linker's
 * optimisation keeps no other order:
 * - initialisers of modules, which every call runs, are in the first group;
 * - functions that the compiler makes (closures, counting, conversions) have numbers that any edit changes, so they are not
 *   listed. Each is in the first group of which a function refers to it;
 * - functions of the program that are not listed come last. The runtime's, in C, stay in `.text`, before all groups.
 *
 * Names in the list are without the number of their module, which each new import changes. A name that several modules have
 * is preceded by the module's first function whose name is its own alone: "readTuning/check".
 */
export const LIST = "layout.txt";

/** The group of what every call runs. */
export const START = "start";

const HEAD =
  "# The functions that the usual calls run, grouped by the plugins whose calls run them. `make layout` writes this list,\n" +
  "# layout.ts puts each group together.\n";
/** Groups of fewer names. */
const SMALL = 10;

/** A line that begins a function, up to the attributes: its symbol; and in the comment, for what has a name, module and name. */
const FUNCTION = /^define .*?@(\w+)\(/;
const NAME = /\{ ; %%?(m\d+)\.([\w.#$]+)$/;
const INITIALISER = /^(?:main|sc_f__x25_main|sc_f__x25_init_\d+)$/;
/** A table of methods, or a function as a value. */
const TABLE = /^@(sc_(?:vtable|fc)_\w+) = /;

/** The names by which the list knows the functions of the program: name by symbol. */
export function namesOf(code: string): Map<string, string> {
  const found: { readonly symbol: string; readonly module: string; readonly name: string }[] = [];
  for (const line of code.split("\n")) {
    const symbol = FUNCTION.exec(line)?.[1];
    const [, module, name] = symbol === undefined ? [] : (NAME.exec(line) ?? []);
    if (symbol !== undefined && module !== undefined && name !== undefined) found.push({ symbol, module, name });
  }
  const modules = new Map<string, Set<string>>();
  for (const { module, name } of found) modules.set(name, (modules.get(name) ?? new Set()).add(module));
  const isAmbiguous = (name: string): boolean => (modules.get(name)?.size ?? 0) > 1;
  const labels = new Map<string, string>();
  for (const { module, name } of found) if (!isAmbiguous(name) && !labels.has(module)) labels.set(module, name);
  return new Map(
    found.map(({ symbol, module, name }) => {
      const label = labels.get(module);
      return [symbol, isAmbiguous(name) && label !== undefined ? `${label}/${name}` : name];
    }),
  );
}

/** The groups of a list: the number of its group for each name. */
export function parseList(text: string): Map<string, number> {
  const groups = new Map<string, number>();
  let group = -1;
  for (const line of text.split("\n")) {
    if (line.startsWith("[")) group += 1;
    else if (line !== "" && !line.startsWith("#")) groups.set(line, group);
  }
  return groups;
}

/**
 * The text of a list. A group is what calls of the same plugins run; the more plugins, the earlier it comes, after what every
 * call runs. So each plugin has few windows, and the order does not depend on the sizes of functions. A small group is not
 * worth a section and joins the one before it.
 * @param ran the names that the calls of each plugin run; those of START are run by every call
 */
export function listOf(ran: ReadonlyMap<string, ReadonlySet<string>>): string {
  const groups = new Map<string, string[]>([[START, []]]);
  for (const name of new Set([...ran.values()].flatMap((names) => [...names]))) {
    const plugins = [...ran.keys()].filter((plugin) => ran.get(plugin)?.has(name));
    const group = plugins.includes(START) ? START : plugins.toSorted().join(" ");
    groups.set(group, [...(groups.get(group) ?? []), name]);
  }
  const plugins = (group: string): number => (group === START ? ran.size : group.split(" ").length);
  const merged: (readonly [string, string[]])[] = [];
  for (const [group, names] of [...groups].toSorted(([a], [b]) => plugins(b) - plugins(a) || (a < b ? -1 : 1))) {
    const before = merged.at(-1);
    if (before === undefined || names.length >= SMALL) merged.push([group, names]);
    else before[1].push(...names);
  }
  return [HEAD, ...merged.map(([group, names]) => [`[${group}]`, ...names.toSorted(), ""].join("\n"))].join("\n");
}

/** The code with a section for each function. */
export function withLayout(code: string, list: string): string {
  const lines = code.split("\n");
  const groups = groupsOf(lines, namesOf(code), parseList(list));
  const rest = Math.max(0, ...groups.values()) + 1;
  const placed = lines.map((line) => {
    const symbol = FUNCTION.exec(line)?.[1];
    return symbol === undefined
      ? line
      : line.replace(/ \{(?= ;|$)/, ` section "${section(groups.get(symbol) ?? rest)}" {`);
  });
  /* The order of the sections is that in which they are mentioned first. */
  const order = Array.from(
    { length: rest + 1 },
    (_, group) => `module asm ".section ${section(group)},\\22ax\\22,@progbits"`,
  );
  return [...order, ...placed].join("\n");
}

function section(group: number): string {
  return `group.${group}`;
}

/** The number of its group for each function that is in one. */
function groupsOf(
  lines: readonly string[],
  names: ReadonlyMap<string, string>,
  listed: ReadonlyMap<string, number>,
): Map<string, number> {
  const references = referencesIn(lines);
  const groups = new Map<string, number>();
  for (const symbol of references.keys()) {
    const group = INITIALISER.test(symbol) ? 0 : listed.get(names.get(symbol) ?? "");
    if (group !== undefined) groups.set(symbol, group);
  }
  /* Along the references, from the first group to the last: what is in a group by then stays there. */
  const queue = [...groups].toSorted(([, a], [, b]) => a - b);
  for (const [from, group] of queue) {
    const reached = [from];
    for (let symbol = reached.pop(); symbol !== undefined; symbol = reached.pop()) {
      for (const other of references.get(symbol) ?? []) {
        if (groups.has(other) || names.has(other) || !references.has(other)) continue;
        groups.set(other, group);
        reached.push(other);
      }
    }
  }
  return groups;
}

/** What each function and each table of functions refers to. */
function referencesIn(lines: readonly string[]): Map<string, Set<string>> {
  const references = new Map<string, Set<string>>();
  let current: Set<string> | null = null;
  for (const line of lines) {
    const symbol = (FUNCTION.exec(line) ?? TABLE.exec(line))?.[1];
    if (symbol !== undefined) {
      current = new Set();
      references.set(symbol, current);
    }
    if (current === null) continue;
    for (const [, other = ""] of line.matchAll(/@(sc_\w+)/g)) current.add(other);
    if (line === "}" || line.startsWith("@")) current = null;
  }
  return references;
}
