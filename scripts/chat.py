"""The traffic of the demo."""

import random
import threading
import time
from datetime import datetime, timezone

import pymongo
from bson import ObjectId

DATABASE = "rocketchat"


class Chat(threading.Thread):
    """People talking: messages, edits, reactions, deletes, presence, and joins as transactions."""

    PEOPLE = ["ada", "grace", "linus", "margaret", "dennis"]
    ROOMS = ["general", "random", "standup"]
    LINES = ["Good morning!", "Who is on call this week?", "Deploying 4.2 now", "Tests are green",
             "Coffee? ☕", 'He said "ship it"', "Let's look at the graphs", "Café at noon?", "+1",
             "The queue is empty again"]

    def __init__(self, uri, seconds):
        super().__init__(daemon=True)
        self.client = pymongo.MongoClient(uri, w="majority")
        self.database = self.client[DATABASE]
        self.seconds, self.failure, self.stopped = seconds, None, threading.Event()
        self.dice = random.Random(4)
        self.messages = []

    def setting(self):
        """The product as it was before the bridge came: its collections and rooms."""
        for name in ("rocketchat_message", "rocketchat_room", "rocketchat_subscription", "users",
                     "usersSessions"):
            self.database.create_collection(name)

    def run(self):
        try:
            for name in self.ROOMS:
                self.database.rocketchat_room.insert_one(
                    {"_id": name.upper(), "t": "c", "name": name, "usersCount": 0, "msgs": 0})
            for name in self.PEOPLE:
                self.join_product(name)
            end = time.monotonic() + self.seconds
            acts = [self.say] * 6 + [self.edit, self.edit, self.react, self.delete, self.presence,
                                     self.presence, self.join_room]
            self.join_room()
            while time.monotonic() < end and not self.stopped.is_set():
                self.dice.choice(acts)()
                self.stopped.wait(self.dice.uniform(0.05, 0.15))
        except pymongo.errors.PyMongoError as problem:
            self.failure = problem

    def join_product(self, name):
        self.database.users.insert_one(
            {"_id": f"u-{name}", "username": name, "name": name.title(), "status": "online",
             "active": True, "roles": ["user"], "_updatedAt": self.now()})
        self.database.usersSessions.insert_one(
            {"_id": f"u-{name}", "connections": [{"id": str(ObjectId()), "status": "online"}]})

    def say(self):
        name, room = self.dice.choice(self.PEOPLE), self.dice.choice(self.ROOMS).upper()
        message = {"_id": str(ObjectId()), "rid": room, "msg": self.dice.choice(self.LINES),
                   "ts": self.now(), "u": {"_id": f"u-{name}", "username": name},
                   "mentions": [], "channels": [], "_updatedAt": self.now()}
        self.database.rocketchat_message.insert_one(message)
        self.database.rocketchat_room.update_one(
            {"_id": room}, {"$inc": {"msgs": 1}, "$set": {"lm": message["ts"]}})
        self.messages.append(message["_id"])

    def edit(self):
        if self.messages:
            self.database.rocketchat_message.update_one(
                {"_id": self.dice.choice(self.messages)},
                {"$set": {"msg": self.dice.choice(self.LINES) + " (edited)",
                          "editedAt": self.now(), "_updatedAt": self.now()}})

    def react(self):
        if self.messages:
            name = self.dice.choice(self.PEOPLE)
            self.database.rocketchat_message.update_one(
                {"_id": self.dice.choice(self.messages)},
                {"$set": {f"reactions.tada.usernames.{name}": True, "_updatedAt": self.now()}})

    def delete(self):
        if len(self.messages) > 3:
            key = self.messages.pop(self.dice.randrange(len(self.messages)))
            self.database.rocketchat_message.delete_one({"_id": key})

    def presence(self):
        key = f"u-{self.dice.choice(self.PEOPLE)}"
        status = self.dice.choice(["online", "away", "busy", "offline"])
        self.database.usersSessions.update_one(
            {"_id": key}, {"$set": {"connections.0.status": status, "_updatedAt": self.now()}})
        self.database.users.update_one({"_id": key}, {"$set": {"status": status}})

    def join_room(self):
        """Three documents that change together or not at all."""
        name, room = self.dice.choice(self.PEOPLE), self.dice.choice(self.ROOMS)
        with self.client.start_session() as session, session.start_transaction():
            self.database.rocketchat_subscription.insert_one(
                {"_id": str(ObjectId()), "rid": room.upper(), "name": room, "open": True,
                 "unread": 0, "u": {"_id": f"u-{name}", "username": name}}, session=session)
            self.database.rocketchat_room.update_one(
                {"_id": room.upper()}, {"$inc": {"usersCount": 1}}, session=session)
            self.database.rocketchat_message.insert_one(
                {"_id": str(ObjectId()), "rid": room.upper(), "t": "uj", "msg": name,
                 "ts": self.now(), "u": {"_id": f"u-{name}", "username": name}}, session=session)

    @staticmethod
    def now():
        return datetime.now(timezone.utc)
