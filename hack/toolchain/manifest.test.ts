import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { declaredIn, merged } from "./manifest.ts";

const FILES: Readonly<Record<string, string>> = {
  "agent/main.ts": [
    'import {\n  a,\n  type B,\n} from "../lib/sys/one.ts";',
    'import type { C } from "../lib/sys/types.ts";',
    'import { readFileSync } from "node:fs";',
    'export * from "./other.ts";',
  ].join("\n"),
  "agent/other.ts": 'import "../lib/sys/two.ts";\nimport * as main from "./main.ts";\n',
  "lib/sys/one.ts": "declare function sys_a(): number;\ndeclare function sys_b(\n  text: string,\n): number;\n",
  "lib/sys/two.ts": "declare function sys_c(): void;\nexport declare function not_bound(): void;\n",
};

const manifest = (names: readonly string[], libraries: readonly string[]) => ({
  ffi_format: 1,
  functions: names.map((name) => ({ name, returns: "i32" })),
  libraries,
  system_libraries: [],
});

describe("a program's manifest", () => {
  it("has what the files declare that the program is made of, through whatever imports", () => {
    const declared = declaredIn("agent/main.ts", (file) => FILES[file] ?? "");
    expect([...declared]).toEqual(["sys_a", "sys_b", "sys_c"]);
  });

  it("is made of all manifests, with their libraries, and says what is in none of them", () => {
    const manifests = [manifest(["sys_a", "sys_unused"], ["a.o"]), manifest(["sys_b"], ["b.o", "c.a"])];
    expect(merged(manifests, new Set(["sys_a", "sys_b"]))).toEqual(manifest(["sys_a", "sys_b"], ["a.o", "b.o", "c.a"]));
    expect(() => merged(manifests, new Set(["sys_a", "sys_x"]))).toThrow("in no manifest: sys_x");
  });

  it("binds all that the agent's and the plugins' manifests have somewhere in lib/sys", () => {
    const files = ["sys", "network", "loop", "tcp", "tls"].map((name) => `lib/sys/${name}.ts`);
    const declared = files.flatMap((file) => [...declaredIn(file, (path) => readFileSync(path, "utf8"))]);
    const bound = ["sys", "agent"].flatMap((name) =>
      (JSON.parse(readFileSync(`lib/sys/${name}.json`, "utf8")) as ReturnType<typeof manifest>).functions.map(
        (one) => one.name,
      ),
    );
    expect([...new Set(declared)].sort()).toEqual(bound.toSorted());
  });
});
