import type { StartedTestContainer } from 'testcontainers';
import { NotHere } from './chain.ts';
import { freePort } from './ports.ts';
import { until } from './wait.ts';

/** What is run in a container, and how the server inside is spoken to. */
export interface ContainerPlan {
  readonly image: string;
  readonly port: number;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly files?: readonly { readonly content: string; readonly target: string; readonly mode: number }[];
  /** The server's line that says it takes connections, and how often it comes at the first start. */
  readonly readyLine: RegExp;
  readonly readyTimes: number;
  /** Resolves when the server answers at that address. */
  answers(host: string, port: number): Promise<unknown>;
}

/** A database server in a container, on a host port that stays the same over restarts. */
export class ContainerServer {
  readonly host: string;
  readonly port: number;
  readonly #started: StartedTestContainer;
  readonly #plan: ContainerPlan;
  #running = true;

  private constructor(started: StartedTestContainer, port: number, plan: ContainerPlan) {
    this.#started = started;
    this.host = started.getHost();
    this.port = port;
    this.#plan = plan;
  }

  /** Runs what is planned for that host port. @throws NotHere when no container engine answers. */
  static async launch(planFor: (port: number) => ContainerPlan): Promise<ContainerServer> {
    const { GenericContainer, Wait } = await engine();
    const port = await freePort();
    const plan = planFor(port);
    let container = new GenericContainer(plan.image)
      .withExposedPorts({ container: plan.port, host: port })
      .withEnvironment({ ...plan.environment })
      .withCopyContentToContainer([...(plan.files ?? [])])
      .withStartupTimeout(300_000)
      .withWaitStrategy(Wait.forLogMessage(plan.readyLine, plan.readyTimes));
    if (plan.command) container = container.withCommand([...plan.command]);
    const server = new ContainerServer(await container.start(), port, plan);
    await server.#answering();
    return server;
  }

  running(): boolean {
    return this.#running;
  }

  async start(): Promise<void> {
    if (this.#running) return;
    await (await this.#container()).start();
    this.#running = true;
    await this.#answering();
  }

  /** Sends the signal to the server and waits until the container has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.#running) return;
    const container = await this.#container();
    await container.kill({ signal });
    await container.wait();
    this.#running = false;
  }

  async remove(): Promise<void> {
    this.#running = false;
    await this.#started.stop({ remove: true, removeVolumes: true, timeout: 0 });
  }

  async #container() {
    const { getContainerRuntimeClient } = await import('testcontainers');
    return (await getContainerRuntimeClient()).container.getById(this.#started.getId());
  }

  async #answering(): Promise<void> {
    const what = `the server in ${this.#plan.image} to answer`;
    await until(() => this.#plan.answers(this.host, this.port).then(() => true), { what, timeoutMs: 120_000 });
  }
}

/** Loaded only when it comes to that: it is big, and asking for an engine takes a moment. */
async function engine() {
  const testcontainers = await import('testcontainers');
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new NotHere('the container engine does not answer within 15 s')), 15_000);
  });
  const asked = testcontainers.getContainerRuntimeClient().catch((error: Error) => {
    throw new NotHere(`no container engine answers (${error.message})`);
  });
  try {
    await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
  return testcontainers;
}
