// Run by the health check: makes the replica set and the shop's collections once; exits 0 when the server takes writes.
try {
  rs.status();
} catch {
  rs.initiate({ _id: 'rs0', members: [{ _id: 0, host: 'mongodb:27017' }] });
}
if (!db.hello().isWritablePrimary) quit(1);
const shop = db.getSiblingDB('shop');
if (!shop.getCollectionNames().includes('reviews')) {
  shop.createCollection('reviews', { changeStreamPreAndPostImages: { enabled: true } });
}
