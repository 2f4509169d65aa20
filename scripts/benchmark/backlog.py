"""The backlog that the bridges have to catch up with."""

import random
import string
import time
from datetime import datetime, timezone

import pymongo
from bson import ObjectId
from pymongo import UpdateOne

DATABASE, COLLECTION = "chat", "rocketchat_message"


def fill(uri, inserts, updates):
    """Chat messages of about 260 B of BSON, then edits of random ones. The position before them."""
    dice = random.Random(20)
    letters = string.ascii_letters + string.digits

    def key():
        return "".join(dice.choices(letters, k=17))

    words = ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9)))
             for _ in range(2000)]
    words += ["“quoted”", "café", "naïve", "\U0001F600", 'say "hi"', "line\nbreak"]
    rooms = [key() for _ in range(500)]
    users = [{"_id": key(), "username": f"user.{number}"} for number in range(1000)]
    with pymongo.MongoClient(uri) as client:
        collection = client[DATABASE][COLLECTION]
        client[DATABASE].create_collection(COLLECTION)
        time.sleep(1.1)  # the C reference starts at whole seconds, and isn't to see the creation
        client.admin.command("appendOplogNote", 1, data={"bench": "start"},
                             writeConcern={"w": "majority"})
        start = client.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]
        keys, batch = [], 2000
        for first in range(0, inserts, batch):
            documents = []
            for _ in range(min(batch, inserts - first)):
                now = datetime.now(timezone.utc)
                documents.append({
                    "_id": ObjectId(), "rid": dice.choice(rooms), "u": dice.choice(users),
                    "msg": " ".join(dice.choices(words, k=dice.randint(4, 20))), "ts": now,
                    "_updatedAt": now, "channels": [],
                    "mentions": [dice.choice(users)] if dice.random() < 0.1 else []})
            keys += [document["_id"] for document in documents]
            collection.insert_many(documents, ordered=False)
        for first in range(0, updates, batch):
            now = datetime.now(timezone.utc)
            collection.bulk_write([
                UpdateOne({"_id": dice.choice(keys)}, {"$set": {
                    "msg": " ".join(dice.choices(words, k=8)), "editedAt": now,
                    "_updatedAt": now}})
                for _ in range(min(batch, updates - first))], ordered=False)
    return start
