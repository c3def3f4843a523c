/** What tests and tools start is listed; and the reading of the sources that tells what they start. */
import { globSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { startsIn, startsInTypeScript } from "./found.ts";
import { listedPrograms, parseNeeds } from "./list.ts";
import { programsOfShell } from "./shell.ts";

const repository = resolve(import.meta.dirname, "../..");

/** Which purposes of hack/need.sh a file's target asks for: the first line that fits. */
const PURPOSES: readonly (readonly [string, RegExp, readonly string[]])[] = [
  ["the kernels' suites", /^conformance\/kernels\//, ["test", "kernels"]],
  ["the suites", /^(conformance|testbed)\//, ["test"]],
  ["the benchmark", /^bench\//, ["bench"]],
  ["the demos", /^hack\/(demo|stage|sandbox)/, ["demo"]],
  ["the fresh machine", /^hack\/fresh\//, ["fresh"]],
  ["the list of functions", /^hack\/toolchain\/profile/, ["layout"]],
  ["all else", /^/, []],
];

/** Not read: busybox has all that init.sh starts; hack/kind is for who has a cluster; examples below. */
const LEFT_OUT = /^conformance\/kernels\/init\.sh$|^hack\/kind\/|^hack\/programs\/.*\.test\.ts$/;

/** Programs that suites unpack for themselves (conformance/clients/programs.ts). */
const UNPACKED = new Set(["ctr"]);

describe("programs that tests and tools start", async () => {
  const files = globSync(["{bench,conformance,hack,testbed}/**", "Makefile", ".ci/run"], {
    cwd: repository,
    withFileTypes: true,
  })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(repository.length + 1));
  const ours = new Set(["node", ...(await readdir(join(repository, "node_modules/.bin")))]);

  test.each(PURPOSES)("%s start nothing that hack/need.sh does not install for them", async (name, _, purposes) => {
    const own = files.filter((path) => PURPOSES.find(([, pattern]) => pattern.test(path))?.[0] === name);
    expect(own).not.toEqual([]);
    const starts = await Promise.all(own.filter((path) => !LEFT_OUT.test(path)).map(readStarts));
    const listed = await listedPrograms(purposes);
    const unlisted = starts.flat().filter(({ program }) => {
      const plain = program.replace(/^(\/usr)?\/s?bin\//, "");
      return !plain.includes("/") && !listed.has(plain) && !ours.has(plain) && !UNPACKED.has(plain);
    });
    expect(unlisted, "add the package to hack/need.sh, or do without the program").toEqual([]);
  });

  test("a line of hack/need.sh names purposes, a package and what of it is started", () => {
    const table = parseNeeds("needs() {\n\tcat <<-END\n\t\ttest,demo one  a /b/c\n\t\ttest two b\n\tEND\n}\n");
    expect(table).toEqual([
      { purposes: ["test", "demo"], package: "one", programs: ["a", "/b/c"] },
      { purposes: ["test"], package: "two", programs: ["b"] },
    ]);
  });
});

async function readStarts(path: string): Promise<{ program: string; place: string }[]> {
  const starts = await startsIn(join(repository, path));
  return starts.map(({ program, place }) => ({ program, place: place.slice(repository.length + 1) }));
}

/** What a template of TypeScript holds, in the examples: `§{name}`, as "$" would be a mistake in most texts. */
const withTemplates = (text: string) => text.replaceAll("§{", "${");

describe("reading sources", () => {
  const inTypeScript = (text: string) => startsInTypeScript("a.ts", withTemplates(text)).map(({ program }) => program);

  test.each([
    ['await execa("ethtool", ["-k", link]);', ["ethtool"]],
    ['host.exec("sysctl", ["-n", KEY])', ["sysctl"]],
    ['host.exec("nft")', []],
    ['execa(now ? "a" : "b", [])', ["a", "b"]],
    ['execa(file, ["-x"])', []],
    ['execa("nsenter", [`--net=§{path}`, "--", "ping", "-n"])', ["nsenter", "ping", "ping"]],
    ['const args = [`--net=§{path}`, "--", "tcpdump", ...options];', ["tcpdump"]],
    ['execa("ip", ["netns", "exec", name, "iperf3", "-s"])', ["ip", "iperf3"]],
    ['host.exec("sh", ["-ec", `echo 1 > /proc/§{key}; conntrack -F | wc`])', ["sh", "conntrack", "wc", "sh"]],
    ["shell(`ip netns exec §{pod} socat - tcp:§{address}`)", ["ip", "socat"]],
    ['const text = "#!/bin/sh\\nuuidgen\\n";', ["uuidgen"]],
    ["const match = /a/.exec(line)", []],
    ['podman.exec("network", "create")', []],
  ])("%s", (text, expected) => {
    expect([...new Set(inTypeScript(text))].sort()).toEqual([...new Set(expected)].sort());
  });

  test.each([
    ["a=1 b --c; d | e && ! f || g", ["b", "d", "e", "f", "g"]],
    ["if x; then y; else z; fi >/dev/null", ["x", "y", "z"]],
    ["for w in a b; do run $w; done < <(list) 2>&1", ["run", "list"]],
    ['x="$(one "$(two)")" `three`', ["one", "two", "three"]],
    ["cat <<-END | tee f\n\tnot these words\n\tEND\nafter", ["cat", "tee", "after"]],
    ['case "$x" in\na | "b c") one ;;\n*) two ;;\nesac', ["one", "two"]],
    ["own() {\n\tinner\n}\nown && exec nice -n 5 timeout 3 last", ["inner", "nice", "timeout", "last"]],
    ["# a comment\nleft # right\ncommand -v what >/dev/null", ["left"]],
    ["unshare --net sh -c 'mount x; $y z'", ["unshare", "sh", "mount"]],
  ])("%s", (text, expected) => {
    expect(programsOfShell(text).sort()).toEqual(expected.toSorted());
  });
});
