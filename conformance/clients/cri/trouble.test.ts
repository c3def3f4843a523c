/** Pods under the real containerd when containerd, the pods or the whole node go down. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { attach, CACHE } from "../libcni/attach.ts";
import { buildAttach } from "../libcni/build.ts";
import { sleep } from "../node.ts";
import { underContainerd } from "./kubelet.ts";
import type { Lab } from "./lab.ts";

/**
 * Has libcni end the attachments of pods that containerd forgot: those whose namespace it had made but whose start it had
 * not yet written down when it was killed. containerd itself never does.
 */
async function collectForgotten(lab: Lab): Promise<void> {
  const executable = await buildAttach("libcni13");
  const request = { operation: "gc", config: lab.network, valid: [] } as const;
  const answer = await attach(lab.containerd.node, executable, request);
  expect(answer.error).toBeUndefined();
}

/**
 * Starts a pod though containerd was killed before. Killed between a snapshot's directory and its record, containerd's native
 * snapshotter wants to make that directory again and cannot.
 */
async function runAfterKill(lab: Lab, number: number): Promise<void> {
  for (let tries = 0; tries < 10; tries += 1) {
    const complaint = await lab.run(number).then(
      () => "",
      (error: Error) => error.message,
    );
    if (complaint === "") return;
    const directory = /\S+\/snapshots\/\d+(?=: file exists)/.exec(complaint)?.[0];
    if (directory === undefined) throw new Error(complaint);
    /* containerd may be at it, too. */
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Removes the results that libcni was keeping when it was killed: it writes them in place, and where a file is empty,
 * containerd can never stop the pod. A person would have to do the same.
 */
async function removeEmptyResults(lab: Lab): Promise<void> {
  await lab.containerd.node.run("find", [join(CACHE, "results"), "-type", "f", "-empty", "-delete"]);
}

await underContainerd((lab) => {
  test("containerd killed while pods start", async () => {
    const before = await lab().runMany(1, 4);
    const starting = Array.from({ length: 8 }, (_, index) =>
      lab()
        .run(11 + index)
        .catch(() => null),
    );
    await sleep(150);
    await lab().containerd.kill();
    await Promise.all(starting);
    await lab().containerd.start();
    const known = await lab().cri.pods();
    for (const pod of before) expect(known.get(pod.id), "pods go on without containerd").toBe(true);
    for (const pod of before) expect(await lab().pings(pod.addresses[0] ?? "")).toBe(true);
    await runAfterKill(lab(), 21);
    await removeEmptyResults(lab());
    await lab().endAll();
    await collectForgotten(lab());
    expect(await lab().left()).toEqual([]);
  });

  test("pods gone while containerd was down", async () => {
    const pods = await lab().runMany(1, 4);
    await lab().containerd.kill();
    for (const pod of pods.slice(0, 3)) await lab().kill(pod);
    for (const pod of pods.slice(0, 2)) await lab().loseNamespace(pod);
    await lab().containerd.start();
    await lab().end(pods);
    expect(await lab().left()).toEqual([]);
  });

  test("reboot", async () => {
    const pods = await lab().runMany(1, 6);
    await lab().containerd.reboot();
    await lab().networkIsReady();
    const fresh = await lab().runMany(41, 6);
    const addresses = fresh.flatMap((pod) => pod.addresses);
    expect(new Set(addresses).size).toBe(12);
    await lab().end(pods);
    for (const address of addresses) expect(await lab().pings(address), address).toBe(true);
    await lab().end(fresh);
    expect(await lab().left()).toEqual([]);
  });
});
