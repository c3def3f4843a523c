/** Runs scenarios under every containerd with every suite that is asked for. */
import { afterAll, afterEach, beforeAll, beforeEach, describe } from "vitest";
import { program } from "../programs.ts";
import { ran, type Suite, suites } from "../suites.ts";
import type { ContainerdName } from "./containerd.ts";
import { Lab, whatIsMissing } from "./lab.ts";

const CONTAINERDS: readonly ContainerdName[] = ["containerd16", "containerd21"];

/**
 * @param scenarios defines the tests, with a node that they share; it is null only outside of tests
 */
export async function underContainerd(scenarios: (lab: () => Lab, suite: Suite) => void): Promise<void> {
  const runs = (await suites()).flatMap((suite) => CONTAINERDS.map((name) => ({ suite, name })));
  describe.each(runs)("$suite.name under $name", ({ suite, name }) => {
    let lab: Lab | undefined;
    let missing = "";
    let client = "";

    beforeAll(async () => {
      client = `containerd ${(await program(name)).version}`;
      missing = await whatIsMissing(name, suite);
      if (missing === "") lab = await Lab.create(name, suite);
    });
    afterAll(() => lab?.remove());
    beforeEach((context) => {
      if (missing !== "") context.skip(missing);
    });
    afterEach(async ({ task }) => {
      if (missing !== "") return;
      if (task.result?.state === "pass") ran(client, suite.name, task.name);
      /* The next test is to have a chance. */
      if (task.result?.state === "fail") await lab?.endAll().catch(() => undefined);
    });

    scenarios(() => {
      if (lab === undefined) throw new Error("there is no node");
      return lab;
    }, suite);
  });
}
