// The ordinary life of objects, as a user of the official JavaScript client writes it.
//
// Ends with 0 when everything was as upstream has it; otherwise an assertion tells what was not.

import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import {
  AppsV1Api, CoreV1Api, Exec, KubeConfig, KubernetesObjectApi, Log, PatchStrategy, VersionApi, Watch, makeInformer,
} from '@kubernetes/client-node';

const namespace = 'javascript';
const config = new KubeConfig();
config.loadFromDefault();
const [core, apps] = [config.makeApiClient(CoreV1Api), config.makeApiClient(AppsV1Api)];
const objects = KubernetesObjectApi.makeApiClient(config);

/** The Status with which `call` must fail. */
async function refused(call, code, reason) {
  const error = await call().then(() => assert.fail(`was not refused with ${code}`), (error) => error);
  assert.equal(error.code, code, String(error));
  const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
  assert.equal(status.reason, reason);
  return status;
}

/** Resolves with the first thing `offer` is called with that fulfils `enough`. */
function first(enough) {
  let offer;
  const seen = new Promise((resolve) => { offer = (thing) => enough(thing) && resolve(thing); });
  return { offer, seen };
}

assert.equal((await config.makeApiClient(VersionApi).getCode()).minor, '35');
await core.createNamespace({ body: { metadata: { name: namespace } } });

// An informer sees the pod from its creation to its end.
const running = first((pod) => pod.status?.phase === 'Running');
const gone = first(() => true);
const informer = makeInformer(config, `/api/v1/namespaces/${namespace}/pods`, () => core.listNamespacedPod({ namespace }));
informer.on('add', running.offer);
informer.on('update', running.offer);
informer.on('delete', gone.offer);
let stopped = false;
// The library tells of its own end as an error.
informer.on('error', (error) => stopped || assert.fail(String(error)));
await informer.start();

const command = ['sh', '-c', "trap 'exit 0' TERM; echo hello; while :; do sleep 1; done"];
const body = {
  metadata: { name: 'p', labels: { app: 'p' } },
  spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'busybox', command }] },
};
const made = await core.createNamespacedPod({ namespace, body });
assert.equal(made.spec.restartPolicy, 'Always');
assert.equal((await refused(() => core.createNamespacedPod({ namespace, body }), 409, 'AlreadyExists')).message, 'pods "p" already exists');
assert.equal((await refused(() => core.readNamespacedPod({ namespace, name: 'q' }), 404, 'NotFound')).details.name, 'q');
await running.seen;
assert.equal(informer.get('p', namespace).metadata.uid, made.metadata.uid);

const log = first((text) => text.includes('hello'));
const lines = new PassThrough();
lines.on('data', (data) => log.offer(data.toString()));
const following = await new Log(config).log(namespace, 'p', 'c', lines, { follow: true });
await log.seen;
following.abort();

let [out, err] = ['', ''];
const [stdout, stderr] = [new PassThrough(), new PassThrough()];
stdout.on('data', (data) => { out += data; });
stderr.on('data', (data) => { err += data; });
const ended = await new Promise((resolve, reject) => {
  new Exec(config)
    .exec(namespace, 'p', 'c', ['sh', '-c', 'echo out; echo err >&2; exit 3'], stdout, stderr, null, false, resolve)
    .catch(reject);
});
assert.deepEqual([out, err, ended.status, ended.details?.causes?.[0]?.message], ['out\n', 'err\n', 'Failure', '3']);

// Objects of any kind: applied, read, patched, deleted.
const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm', namespace }, data: { x: '1' } };
await objects.patch(map, undefined, undefined, 'one', true, PatchStrategy.ServerSideApply);
const merged = await objects.patch({ ...map, data: { y: '2' } }, undefined, undefined, undefined, undefined, PatchStrategy.MergePatch);
assert.deepEqual(merged.data, { x: '1', y: '2' });
assert.deepEqual(merged.metadata.managedFields.map((entry) => entry.operation).sort(), ['Apply', 'Update']);
await objects.delete(map);
await refused(() => objects.read(map), 404, 'NotFound');

// A raw watch from a resource version tells what came after it, and nothing before.
const { metadata } = await apps.listNamespacedDeployment({ namespace });
const spec = { replicas: 0, selector: { matchLabels: { app: 'd' } }, template: { metadata: { labels: { app: 'd' } }, spec: body.spec } };
await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'd' }, spec } });
const added = first(([type]) => type === 'ADDED');
const watching = await new Watch(config).watch(
  `/apis/apps/v1/namespaces/${namespace}/deployments`, { resourceVersion: metadata.resourceVersion },
  (type, object) => added.offer([type, object.metadata.name]), () => {},
);
assert.deepEqual(await added.seen, ['ADDED', 'd']);
watching.abort();

await core.deleteNamespacedPod({ namespace, name: 'p' });
await gone.seen;
stopped = true;
await informer.stop();
await core.deleteNamespace({ name: namespace });
console.log('ok');
