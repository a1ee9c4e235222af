// draw.mjs PROMETHEUS TO BOARDS OUT: bundles the page once and draws both boards as they stood on the
// dearer side of break-even, at the last instant up to TO (epoch seconds).
import { build } from 'esbuild';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { smaller } from './smaller.mjs';

const [prometheus, at, boards, out] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const HOURS = 4;
const WIDTH = 1600;
const SUPPORT = { workload: 'support', path: 'self_hosted' };
const HIGH = 2600; // all of a board, for tables draw only what is in view
const CHARTS = [
  { board: 'llmcost-overview', file: 'dashboard-overview.png', values: {} },
  { board: 'llmcost-workload', file: 'dashboard-workload.png', values: SUPPORT },
];

const bundle = await build({
  entryPoints: [join(here, 'page', 'index.tsx')],
  bundle: true,
  write: false,
  outdir: '/',
  format: 'iife',
  jsx: 'automatic',
  logLevel: 'error',
  loader: { '.svg': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.png': 'dataurl' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});
const [script, styles] = ['.js', '.css'].map((end) => bundle.outputFiles.find(({ path }) => path.endsWith(end)).text);
const page = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/page.css"><body><div id="root"></div><script src="/page.js"></script>';

/** Serves the page, with the board and the settings it is to draw. */
async function served(input) {
  const answers = { '/': ['text/html', page], '/page.js': ['text/javascript', script], '/page.css': ['text/css', styles] };
  answers['/input.json'] = ['application/json', JSON.stringify(input)];
  const server = createServer(({ url }, response) => {
    const [type, body] = answers[url] ?? [];
    response.writeHead(body ? 200 : 404, { 'Content-Type': `${type ?? 'text/plain'}; charset=utf-8` }).end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function draw(browser, { board, file, values }) {
  const settings = { prometheus, from: to - HOURS * 3600, to, values: { job: '.*', runbook: 'runbook.md', ...values } };
  const server = await served({ board: JSON.parse(await readFile(join(boards, `${board}.json`))), settings, width: WIDTH });
  const tab = await browser.newPage({ viewport: { width: WIDTH, height: HIGH }, timezoneId: 'UTC' });
  const problems = [];
  tab.on('pageerror', (error) => problems.push(String(error)));
  tab.on('console', (message) => process.env.DEBUG && console.error(message.text()));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForSelector('body[data-drawn], body[data-failed]', { state: 'attached', timeout: 60000 });
  const failed = await tab.getAttribute('body', 'data-failed');
  if (failed) {
    problems.push(failed);
  }
  const clip = await tab.locator('#board').boundingBox().catch(() => undefined);
  await writeFile(join(out, file), smaller(await tab.screenshot({ clip })));
  await tab.close();
  server.close();
  return problems;
}

/** The last instant at which `support` was on the dearer side, so that the picture shows what the boards are for. */
async function crossed() {
  const query = 'max_over_time((timestamp(llmcost_break_even_status{workload="support",status="api_cheaper"} == 1))[4h:1m])';
  const answer = await fetch(`${prometheus}/api/v1/query?${new URLSearchParams({ query, time: at })}`);
  const [found] = (await answer.json()).data.result;
  return Math.floor(Number(found?.value[1] ?? at)) - 240; // nor at the very edge
}

const to = await crossed();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const problems = [];
for (const chart of CHARTS) {
  problems.push(...(await draw(browser, chart)));
}
await browser.close();
problems.forEach((problem) => console.error(problem));
process.exit(problems.length ? 1 : 0);
