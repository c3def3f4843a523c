import { expect, it } from "vitest";
import { metricsText } from "./metrics.ts";

it("metricsText has a help, a type and a value for each", () => {
  const text = metricsText({
    ...{ nodes: 5, isSynced: true, isWorking: false, runs: 7, failures: 2, repairs: 1, lastRun: 1764500000 },
  });
  expect(text).toContain(
    "# HELP podwire_agent_nodes Nodes that the API server has told of.\n# TYPE podwire_agent_nodes gauge\npodwire_agent_nodes 5\n",
  );
  expect(text).toContain("\npodwire_agent_working 0\n");
  expect(text).toContain("\npodwire_agent_last_run_timestamp_seconds 1764500000\n");
  const lines = text.split("\n").slice(0, -1);
  expect(lines.length % 3).toBe(0);
  for (const line of lines) expect(line).toMatch(/^(?:# (?:HELP|TYPE) )?podwire_agent_[a-z_]+ .+$/);
});
